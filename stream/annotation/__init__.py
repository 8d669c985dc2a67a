"""Files of texts to files of annotated documents, without a broker; an interrupted run goes on."""
