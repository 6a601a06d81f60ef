-- How a server proves itself over TLS where this machine's authorities and its URL are not the whole truth. NULL and 0 are
-- what every server had before.

ALTER TABLE servers ADD COLUMN ca TEXT;              -- PEM: only these authorities vouch for it
ALTER TABLE servers ADD COLUMN tls_name TEXT;        -- its certificate is for this name, not for the URL's
ALTER TABLE servers ADD COLUMN insecure INTEGER NOT NULL DEFAULT 0;
