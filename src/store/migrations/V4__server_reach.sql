-- How a server is reached where URL and DNS are not the whole truth. NULL and 'off' are what every server had before.

ALTER TABLE servers ADD COLUMN address TEXT;         -- host[:port], asked instead of DNS
ALTER TABLE servers ADD COLUMN send_proxy TEXT NOT NULL DEFAULT 'off';
ALTER TABLE servers ADD COLUMN send_proxy_port INTEGER;
ALTER TABLE servers ADD COLUMN client_prefix TEXT;   -- NULL: by its version
