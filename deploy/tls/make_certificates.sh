#!/usr/bin/env bash
# Makes an authority and the certificates that compose.tls.yml takes, for a trial on this machine:
#
#   deploy/tls/make_certificates.sh FOLDER
#
# They end after 90 days. Run as root it gives each key to the container's user that reads it; else the keys are
# readable by everyone on this machine, since containers run under uids of their own.
set -o errexit -o nounset -o pipefail

folder=${1:?usage: make_certificates.sh FOLDER}
[ ! -e "$folder/ca.crt" ] || { echo "$folder holds certificates already; name another folder" >&2; exit 1; }
mkdir -p "$folder"
cd "$folder"
umask 077

make() { # NAME OPTION...: a key and a certificate
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 90 \
        -subj "/CN=$1" -keyout "$1.key" -out "$1.crt" "${@:2}"
}

make ca -addext keyUsage=critical,keyCertSign,cRLSign
signed=(-CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:FALSE)
make kafka "${signed[@]}" -addext subjectAltName=DNS:kafka,DNS:localhost,IP:127.0.0.1
make triton "${signed[@]}" -addext subjectAltName=DNS:triton,DNS:localhost,IP:127.0.0.1
make worker "${signed[@]}"
cat kafka.key kafka.crt ca.crt > kafka.pem
rm kafka.key kafka.crt

chmod 755 .
chmod 644 ca.crt triton.crt worker.crt
if [ "$(id -u)" = 0 ]; then
    chown 1000 kafka.pem
    chown 10001 triton.key worker.key
else
    chmod 644 kafka.pem triton.key worker.key
fi
echo "$folder: ca.key signs further certificates; keep it elsewhere"
