# What docker-compose.yaml takes from the environment. Copy this file to .env and fill it in; .env stays here.

# Database of the archiver: container hop-archiver-db, stanza local-db.
POSTGRESQL_HOST=hop-archiver-db
POSTGRESQL_PORT=5432
POSTGRESQL_USERNAME=archiver
POSTGRESQL_PASSWORD=archiver
POSTGRESQL_DATABASE=archiver

# Object store: stanza local-store, and the store of Headrace itself.
S3_ACCESS_KEY_ID=headrace
S3_SECRET_ACCESS_KEY=headrace-secret

# Your login at Hopskotch, for the stanzas hop-dev and hop-prod; the broker of docker compose asks for none.
HOP_USERNAME=
HOP_PASSWORD=

# What the archiver does by itself, e.g. housekeeping run -H hop-local -D local-db -S local-store
ARCHIVER_COMMAND=sleep infinity

# Database of Headrace itself.
POSTGRES_PASSWORD=headrace
