"""The Faust worker: documents in, entity events or dead letters out."""
