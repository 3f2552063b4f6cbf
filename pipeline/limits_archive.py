"""Every limit of the archive by name, as `pipeline.limits` has the others (archive contract)."""

from __future__ import annotations

from pipeline.limits import KIB, MIB, RECORD_MAX_BYTES

ARCHIVE_OBJECT_MAX_BYTES = 512 * MIB
"""Largest archived object; a larger message is refused."""
ARCHIVE_BATCH_MESSAGES = 200
"""Rows written together, at most."""
ARCHIVE_CONCURRENCY = 64
"""Archive objects on their way to the store at once."""
ARCHIVE_PACK_RECORDS = 5000
"""Messages at which a pack is closed."""
ARCHIVE_PACK_RECORDS_MAX = 50_000
"""Most messages one pack may be set to hold."""
ARCHIVE_PACK_BYTES = 32 * MIB
"""Bytes of payloads at which a pack is closed; a larger message gets an object of its own."""
ARCHIVE_PACK_SECONDS = 5.0
"""Age of its first message at which a pack is closed."""
ARCHIVE_PACKS_AT_ONCE = 8
"""Packs in work at once; each holds its messages several times over."""
ARCHIVE_IN_FLIGHT_RECORDS = 50_000
"""The archive takes no more while it has so many messages in hand of partitions that get on,"""
ARCHIVE_IN_FLIGHT_BYTES = 128 * MIB
"""or so many bytes of payloads."""
ARCHIVE_HELD_RECORDS = 200_000
"""The same, counting what it has of partitions that stall,"""
ARCHIVE_HELD_BYTES = 512 * MIB
"""and bytes of theirs."""
ARCHIVE_LANE_STALLED_SECONDS = 5.0
"""A partition of which nothing was settled for so long stalls."""
ARCHIVE_LOOK_SECONDS = 1.0
"""Pause between two looks whether there is room, while nothing is settled."""
ARCHIVE_COPY_ROWS = 1000
"""Rows of a pack handed to the database at a time; others get a turn in between."""
ARCHIVE_DATABASE_CALLS = 4
"""Calls to the database one writer has under way; the connections left are for everybody else."""
ARCHIVE_PARKED_ERROR_CHARACTERS = 4096
"""How much is kept of why a message was parked."""
ARCHIVE_INLINE_BYTES = 1 * MIB
"""Payload bytes a batch may hold before it is hashed and encoded off the event loop."""
ARCHIVE_TURN_MESSAGES = 100
"""Messages of a batch worked on before the event loop gets a turn: a millisecond."""
ARCHIVE_SETTLE_ROUNDS = 8
"""Times a batch is looked at again because others stored the same identities meanwhile."""
ARCHIVE_STEPS_MAX = 400
"""Most hours, days or months one plot of the archive has."""
ARCHIVE_RATES_ROWS_MAX = 100_000
"""Most figures one count of messages gives: topics times steps."""
ARCHIVE_FIGURES_SECONDS = 20.0
"""Longest time the database may take for the figures of one page; then a smaller question is asked for."""
ARCHIVE_BYTES_SECONDS = 60.0
"""How long the bytes of all topics are shown before they are added up anew, which reads every row."""
ARCHIVE_GAPS_MAX = 1000
"""Most gaps of a topic that are listed; all are counted."""
ARCHIVE_GAPS_EXPLAINED = 20
"""Gaps of one answer that are looked for in the log, a read each."""
ARCHIVE_SHOWN_OBJECT_MAX_BYTES = 16 * MIB
"""Largest archived message whose page reads it; a larger one is for downloading."""
ARCHIVE_SHOWN_TEXT_BYTES = 128 * KIB
"""Payload a page shows as text."""
ARCHIVE_SHOWN_HEX_BYTES = 4 * KIB
"""Payload a page shows in hexadecimal."""
ARCHIVE_SHOWN_HEADERS = 200
"""Headers a page shows of one message."""
ARCHIVE_SHOWN_HEADER_BYTES = 1 * KIB
"""How much of a header's value a page shows."""
ARCHIVE_SHOWN_JSON_DEPTH = 32
"""JSON nested deeper is shown as it was sent: indented it could take a thousand times its size."""
ARCHIVE_TOPICS_APART = 32
"""Topics of one list that are looked through one by one; more are looked through together."""
ARCHIVE_LIST_MESSAGES = 64
"""Messages of one page over HTTP unless asked otherwise, and the most that come with their payloads."""
ARCHIVE_LIST_MESSAGES_MAX = 1024
"""Most messages of one page that come without payloads."""
ARCHIVE_LIST_BYTES = 16 * MIB
"""Objects of one page, read and checked before it is sent; a larger one makes a page alone."""
ARCHIVE_LISTS_AT_ONCE = 32
"""Pages with payloads made and sent at once; bounds memory to this times `ARCHIVE_LIST_BYTES`."""
ARCHIVE_READS_AT_ONCE = 8
"""Objects of one page read at once."""
ARCHIVE_JSON_MAX_BYTES = 16 * MIB
"""Largest archived message that is answered as JSON."""
ARCHIVE_UPLOAD_MEMORY_BYTES = 8 * MIB
"""Payload of an upload that is held in memory; a larger one waits on local disk."""
ARCHIVE_UPLOADS_AT_ONCE = 16
"""Uploads received at once; more wait for their turn before they are read."""
ARCHIVE_UPLOAD_REST_BYTES = 1 * MIB
"""Most bytes of an upload beside its payload: headers and key."""
ARCHIVE_UPLOAD_EXTRA_BYTES = 4 * MIB
"""How much larger than the upload its object may be: what the archive notes beside the payload."""
USERS_LOOK_SECONDS = 5.0
"""Pause between two looks whether the file with users has changed."""
SCRAM_SESSION_SECONDS = 60.0
"""Longest time between the two steps of one authentication (archive contract, section 17.2)."""
SCRAM_SESSIONS_MAX = 10_000
"""Authentications under way at once; the oldest gives way to a new one."""
SCRAM_ITERATIONS = 210_000
"""Rounds of hashing that protect a password at rest; whoever authenticates does them, we do not."""
SCRAM_SALT_BYTES = 16
"""Length of the salt of a new password."""
SCRAM_MESSAGE_MAX_BYTES = 4 * KIB
"""Longest message of an authentication."""
HOUSEKEEPING_LOOK_SECONDS = 1.0
"""Time between two looks whether a run of housekeeping has reached the end of its topics."""
SERVER_LOG_MAX_BYTES = 1 * MIB
"""How much of the end of a database server's log is shown."""
KUBECTL_TIMEOUT_SECONDS = 60.0
AWS_CONNECT_TIMEOUT_SECONDS = 5.0
AWS_CALL_TIMEOUT_SECONDS = 30.0
"""Longest wait for one answer of AWS about secrets and databases."""
RESTORE_WINDOW_ROWS = 8000
"""Messages a restore reads, sends and writes down together."""
RESTORE_WINDOW_BYTES = 8 * MIB
"""Bytes of their documents together, unless a single one is larger."""
RESTORE_WINDOW_SECONDS = 10.0
"""At a given rate, how long the messages of one line of the journal take."""
RESTORE_WINDOWS_AHEAD = 2
"""Windows read and not sent yet; bounds memory, with what is being read and sent, to five windows."""
RESTORE_PAGE_ROWS = 8000
"""Rows a restore asks the database for at a time."""
RESTORE_READS_AT_ONCE = 32
"""Objects, and stretches of packs, that a restore reads at once."""
RESTORE_GAP_BYTES = 64 * KIB
"""Documents of a pack this close together are read with one request, and what lies between is dropped."""
RESTORE_SLICE_BYTES = 256 * KIB
"""Documents checked before others on the event loop get a turn: about 2 ms; a thread checks larger ones."""
RESTORE_DOCUMENT_MAX_BYTES = 2 * RECORD_MAX_BYTES + 64 * KIB
"""A larger document holds no message that a record can hold, as annotations repeat headers once at most."""
RESTORE_PACE_SECONDS = 0.1
"""At a given rate, how long the messages sent together take."""
RESTORE_PROCESSES_MAX = 8
"""Most processes one restore is shared out among; fewer on a machine with fewer cores."""
RESTORE_SHARE_MESSAGES = 50_000
"""A restore is shared out so that each process has at least so many: starting one takes a second."""
RESTORE_JOURNAL_WAIT_SECONDS = 5.0
"""Longest wait for the journal of a share whose process is just ending, because its parent did."""
RESTORE_ATTEMPTS = 5
"""Times what is not known to have arrived is looked for in the destination and sent again."""
RESTORE_UUIDS_MAX = 10_000
"""Most uuids one restore may be asked for."""
RESTORE_FAILURES_SHOWN = 100
"""Messages that could not be sent, and differences, that a report names; all are counted."""
RESTORE_RANGES_SHOWN = 1000
"""Most ranges of offsets a report holds; a longer map goes to a file."""
RESTORE_JOURNAL_LINE_BYTES = 64 * MIB
"""Longest line of a journal: ranges of single offsets for every message of a window are far shorter."""
ARCHIVE_STATUS_ROWS = 500_000
"""Rows added up by one read of the database."""
ARCHIVE_AUDIT_ROWS = 2000
"""Rows an audit reads at a time."""
ARCHIVE_AUDIT_SAMPLE = 100
"""Messages a look at the archive's health takes by chance."""
ARCHIVE_AUDIT_OBJECTS = 16
"""Objects an audit looks at or reads at once; each is read in chunks."""
ARCHIVE_AUDIT_FAILURES = 50
"""Objects in a row that cannot be looked at, after which an audit ends: the store is down."""
ARCHIVE_AUDIT_SUSPECTS = 10_000
"""Young objects without a row an audit remembers to look at again at its end."""
ARCHIVE_YOUNG_SECONDS = 600.0
"""Age at which an object without a row is no message on its way any more."""
ARCHIVE_CLEAN_ROWS = 500
"""Rows deleted in one transaction."""
ARCHIVE_UUIDS_MAX = 1_000_000
"""Most uuids one question for them gives."""
ARCHIVE_QUESTION_SECONDS = 50.0
"""Longest time the database may take for a question an operator typed."""
ARCHIVE_INSPECT_BYTES = 4 * KIB
"""How much of a payload or header `inspect` prints; its file has everything."""
MEDIA_TYPE_BLOCK_BYTES = 4096
"""Start of a payload that its media type is told from."""
TEXT_PAYLOAD_MAX_BYTES = 8 * MIB
"""Largest payload that may be searched for text: it goes to the parser process in one message."""
TEXT_MAX_CHARACTERS = 64 * KIB
"""Most text of one message; PostgreSQL refuses a search vector of more than 1 MiB."""
TEXT_AVRO_RECORDS = 10_000
"""Records of an Avro file that are searched for text; a few bytes can claim any number of them."""
TEXT_START_BYTES = 256
"""Start of a payload that tells whether it is XML, JSON or plain text."""
SEARCH_MAX_CHARACTERS = 1000
"""Longest search; whoever types more means something else."""
REINDEX_BATCH_MESSAGES = 1000
"""Rows looked at together while texts are indexed anew."""
REINDEX_READ_BYTES = 32 * MIB
"""Objects read together meanwhile; a single one may be larger."""
EVENT_KEY_MAX_BYTES = 512
"""Longest record key kept in its indexed column; longer ones stay in the object alone."""

POLICY_MAX_BYTES = 16 * MIB
"""Largest topic policy, as a file or as the answer of a server."""
POLICY_TIMEOUT_SECONDS = 30.0
"""Longest wait for one answer of the server that has the topic policy."""
POLICY_PAUSE_SECONDS = 10.0
"""Least time between two questions for the policy that messages cause."""
ARCHIVE_DRAIN_SECONDS = 8.0
"""How long messages in flight may take to settle when the archive stops or its topics change."""
ARCHIVE_STALE_SECONDS = 1200.0
"""A message in flight, or a look for topics, older than this makes the archive not ready."""
ARCHIVE_LOOKS_MISSED = 4
"""Looks for topics that may fail in a row before the archive is not ready, whatever their interval."""
LIVENESS_SECONDS = 1200.0
"""Oldest liveness file that counts as alive, unless the checker is told otherwise."""
