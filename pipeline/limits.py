"""Every limit by name: sizes, depths, counts and waits that bound what one input can cost.

A figure that an operator may want to change is a setting with its default here; the others are fixed.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- events (dispatcher contract, section 8) ---
EVENT_MAX_BYTES = 3 * MIB
"""Largest stored encoding of one event."""
PUBLISH_MAX_BYTES = 256 * MIB
"""Largest body of one publish."""
PUBLISH_INLINE_BYTES = 4 * MIB
"""Bodies above this are decoded in a thread; below it that takes longer than the decoding."""
PUBLISH_SLICE_EVENTS = 100
"""Events prepared before others get a turn: 3 ms."""
METRIC_NAMES_MAX = 1000
"""Most names of plugins that metrics tell apart; the others are counted together."""
METRIC_NAME_MAX_CHARS = 128
"""Longest name that metrics show."""
DELETIONS_MAX = 5_000_000
"""Most keys, links, authors and submissions that are held as deleted."""
INSERTS_MAX_BYTES = 256 * MIB
"""Inserts, which declare children, that are held in memory."""
EVENTS_PER_REQUEST = 1000
"""Most events one request may publish or fetch."""
HUB_SHAPES_MAX = 100_000
"""Shapes of events that are remembered at a time."""
HUB_VERDICTS_MAX = 4096
"""Shapes of events of which one consumer's filter remembers what it said."""
HUB_WAIT_MAX_SECONDS = 60
"""Longest deadline of one fetch; a longer one is cut to this."""
CONSUMER_KEY_MAX_BYTES = 8 * KIB
"""Longest consumer key, in JSON; it names consumer groups, and tasks hold it several times."""
FILTER_EXPRESSION_MAX_CHARS = 1024
"""Longest filter expression of a fetch."""
FILTER_EXPRESSIONS_KEPT = 256
"""Compiled filter expressions that are kept."""
FILTER_EXPRESSION_DEPTH = 8
"""Most conditions inside each other in a filter expression."""
FILTER_EXPRESSION_STEPS = 50_000
"""Steps a filter expression may take in one event, each well below 1 µs; this is what bounds its time."""
HUB_CHUNK_RECORDS = 512
"""Offsets of a partition that are decoded and kept together."""
HUB_CHUNK_BYTES = 2 * MIB
"""Stored bytes after which a chunk is full with fewer."""
HUB_SHARES = 16
"""Parts the work of handing out is divided into: partitions of ``system.hub``."""
HUB_CONSUMERS_MAX = 10_000
"""Consumers that are remembered at a time."""
HUB_CONSUMER_SECONDS = 24 * 60 * 60.0
"""How long a consumer counts as registered after it last asked."""
HUB_REGISTRATION_SECONDS = 600.0
"""How often a registration is written anew while its consumer keeps asking."""
HUB_PAUSE_REPEAT_SECONDS = 60.0
"""A pause is not written again within this time."""
HUB_PAUSED_SECONDS = 600.0
"""After a pause, so long tasks are not handed out."""
HUB_SKIPPING_SECONDS = 1800.0
"""After a pause, so long consumers of tasks that come back go to the end of everything."""
HUB_PASS_SECONDS = 0.5
"""How long one request may look through old events before others of its consumer have their turn."""
HUB_REPLAY_PARTS = 64
"""A status is not remembered for replaying when it is larger than the memory for all over this."""
HUB_ANSWER_BYTES = 64 * MIB
"""A fetch is answered with fewer events when they have more bytes than this together."""
HUB_PASSED_MAX_BYTES = HUB_ANSWER_BYTES + 2 * EVENT_MAX_BYTES
"""Largest message between processes that hand out."""
HUB_CONNECT_SECONDS = 5.0
"""How long passing a request on to another process may take."""
HUB_LATE_SECONDS = 3.0
"""How long after its deadline another process may answer before it counts as hanging; the known runner
waits for five seconds."""
HUB_RECEIPT_SECONDS = 60.0
"""How long the other process may take to say that an answer has reached its client."""
HUB_MOVING_SECONDS = 0.2
"""Pause between two looks at who serves a consumer."""
HUB_LET_GO_SECONDS = 5.0
"""How long answers under way may take when their consumers move to another process."""
HUB_FILTERS_MAX = 10_000
"""Compiled filters that are kept."""
HUB_TIDY_SECONDS = 3600.0
"""How often consumers that have not asked for long are let go."""
HUB_TOPICS_SECONDS = 10.0
"""How long a new topic may go unnoticed."""
CONSUMERS_PAGE_MAX = 100
"""Most consumers on one page: each has up to four consumer groups to ask for."""
GROUPS_ASKED_AT_ONCE = 16
"""Consumer groups whose positions are asked for at the same time."""
SECURITY_MAX_CHARACTERS = 1024
"""Longest security marking."""
SECURITY_PAIRS_MAX = 4096
"""Pairs of markings of which is remembered whether one may read the other."""

# --- log ---
RECORD_MAX_BYTES = EVENT_MAX_BYTES + 64 * KIB
"""Largest record: an event, its key and its headers."""
LOG_CALL_TIMEOUT_SECONDS = 30.0
"""Longest wait for one answer of the log."""
LOG_READ_MAX_BYTES = 8 * MIB
"""Most bytes one read of the log returns, unless a single record is larger."""
LOG_PENDING_BYTES = 16 * MIB
"""Appended bytes that wait to be written; a further append waits until there is room."""
LOG_GROUP_BYTES = 4 * MIB
"""Most bytes the embedded log makes durable in one write, unless one append is larger."""
LOG_FRAME_BYTES = 256 * KIB
"""Records of one partition that share a checksum, unless a single one is larger."""
LOG_JOURNAL_BYTES = 16 * MIB
"""The journal of the embedded log is moved into the segments when it has this size."""
LOG_TAIL_BYTES = 32 * MIB
"""Newest records the embedded log keeps in memory for readers that follow it."""
LOG_READ_AHEAD_BYTES = 2 * MIB
"""Bytes the embedded log reads from disk at a time."""
LOG_LEFTOVER_BYTES = 16 * MIB
"""Records that came beyond what was asked for, kept for the next fetch."""
LOG_SEGMENT_BYTES = 64 * MIB
"""Size at which a segment of the embedded log is closed (topic setting segment.bytes)."""
LOG_COMPACT_SEGMENT_BYTES = 16 * MIB
"""The same for compacted topics."""
LOG_COMPACT_KEYS_MAX = 1_000_000
"""Keys one round of compaction remembers; what does not fit waits for the next round."""
LOG_TIDY_SECONDS = 60.0
"""Time between two looks at retention and compaction."""
LOG_PARTITIONS_MAX = 1000
"""Most partitions of one topic."""
LOG_TOPIC_NAME_MAX = 249
"""Longest topic name, as in Kafka."""
KAFKA_CALL_ATTEMPTS = 3
"""Tries of one call to Kafka that changes nothing when it is made twice."""
KAFKA_BATCH_BYTES = 512 * KIB
"""Records of one partition sent to Kafka together, unless a single one is larger."""
KAFKA_MESSAGE_MAX_BYTES = RECORD_MAX_BYTES + 64 * KIB
"""max.message.bytes of topics made here, unless their settings say otherwise."""
KAFKA_CLOSE_TIMEOUT_SECONDS = 10.0
"""Longest wait for a connection to end in good order."""
TABLE_VIEW_MAX_BYTES = 256 * MIB
"""Keys and values a view of a table holds in memory."""

# --- objects ---
CHUNK_BYTES = 256 * KIB
"""Bytes moved at a time between network, disk and hash functions."""
OBJECT_MAX_BYTES = 64 * GIB
"""Largest object accepted."""
OBJECT_KEY_MAX_BYTES = 1024
"""Longest key, as in S3."""
OBJECT_CALL_TIMEOUT_SECONDS = 60.0
"""Longest wait for one answer of the object store, not counting the bytes themselves."""
OBJECT_SEGMENT_MAX_BYTES = 255
"""Longest part of a key between slashes: what file systems allow for a name."""
OBJECT_METADATA_MAX_BYTES = 2 * KIB
"""Names and values of one object's metadata together, as in S3."""
OBJECT_BATCH_BYTES = 1 * MIB
"""Bytes handed to a thread at a time while an object streams; smaller objects take one trip."""
OBJECT_LIST_BATCH = 1000
"""Objects listed at a time."""
HASH_INLINE_BYTES = 16 * KIB
"""Up to this size hashing is cheaper than a trip to a thread (below 0.1 ms)."""
FOLDER_THREADS = 16
"""Files a folder store works on at once; their fsyncs overlap."""
FOLDERS_OPEN = 384
"""Folders a folder store keeps open besides those in use; a process usually may have 1024 files open."""
FOLDER_ROUNDS = 4
"""Rounds of small objects a folder store works on at once."""
FOLDER_ROUND_OBJECTS = 256
"""Small objects stored together in one round."""
FOLDER_SYNC_TOGETHER = 8
"""From so many objects in a round on, the file system is flushed once instead of each file."""
FOLDER_DIRTY_BYTES = 32 * MIB
"""A large object is flushed to disk each time this much was written, so that the end is not slow."""
S3_THREADS = 64
"""Requests one S3 store has under way at once."""
S3_CONNECT_TIMEOUT_SECONDS = 5.0
S3_PART_BYTES = 8 * MIB
"""Size of the parts of a large upload; S3 allows 10,000, which is more than `OBJECT_MAX_BYTES`."""
S3_WHOLE_BYTES = 16 * MIB
"""Bytes handed over in one piece are stored with one request up to this size."""
S3_PARTS_AT_ONCE = 3
"""Parts of one upload on their way at once."""
S3_LARGE_PUTS_AT_ONCE = 4
"""Uploads above `OBJECT_BATCH_BYTES` at once; bounds memory to this times parts times part size."""
S3_COPY_MAX_BYTES = 1 * GIB
"""Largest object copied in one request; S3 allows 5 GiB, but that may take longer than a call may."""
S3_COPY_PART_BYTES = 256 * MIB
S3_UPLOAD_STALE_SECONDS = 24 * 3600
"""An unfinished upload this old belongs to a process that died; it is removed."""
AGE_OFF_SECONDS = 24 * 3600.0
"""Time between two looks for streams that are too old, in stores that do not look by themselves."""
CACHE_MIN_BYTES = 1 * MIB
"""A smaller cache of streams is none (dispatcher contract, section 18)."""
CACHE_OBJECT_SHARE = 64
"""The largest stream kept has the cache's size over this: half of one of the reference's 32 shards."""
CACHE_ENTRY_BYTES = 1 * KIB
"""What a stream in the cache takes beside its bytes, counted so that small ones are bounded too."""
CACHE_FILLS_AT_ONCE = 16
"""Streams collected for the cache at once; bounds the memory beside it."""
CART_HEADER_MAX_BYTES = 64 * KIB
"""Longest optional header or footer of a CaRT file."""

# --- outside calls ---
CALL_ATTEMPTS = 5
"""Tries of one outside call before its error is passed on."""
CALL_BACKOFF_SECONDS = 0.2
CALL_BACKOFF_MAX_SECONDS = 30.0

# --- parser process (design, section 4.8) ---
PARSE_TIMEOUT_SECONDS = 60.0
"""Longest time one item may be parsed."""
PARSE_MEMORY_BYTES = 1 * GIB
"""Address space of one parser process beyond what it has at start."""
YARA_SCAN_MAX_BYTES = 64 * MIB
"""YARA reads this much from the start of an object; the result says when there was more."""
PARSE_BYTES_PER_SECOND = 4 * MIB
"""A large item gets more time: its size over this, on top of `PARSE_TIMEOUT_SECONDS`."""
PARSER_PIPELINED = 8
"""Items one parser process holds at once: the one it works on and the ones waiting in its socket."""
PARSER_ITEMS = 50_000
"""Items after which a parser process is replaced by a fresh one, so that no leak adds up."""
PARSER_START_SECONDS = 60.0
"""Longest time from starting a parser process to its being ready, rules compiled."""
PARSER_STOP_SECONDS = 5.0
"""Longest time a parser process may take to end by itself before it is killed."""
PARSER_STARTS = 3
"""Starts in a row that may fail before waiting items are told; starting goes on."""
PARSER_PAUSE_SECONDS = 0.2
PARSER_PAUSE_MAX_SECONDS = 10.0
"""Pause before a parser process is started again after a failed start, doubling up to the longer one."""
PARSER_OPEN_FILES = 32
"""File descriptors of one parser process."""
PARSER_MESSAGE_MAX_BYTES = 16 * MIB
"""Largest message between the service and a parser process; the most rule hits with all their data fit."""
PARSER_BLOCKS_BYTES = 256 * KIB
"""Blocks sent to a parser process together, when only their MIME types are asked for."""
PARSER_ERROR_BYTES = 4 * KIB
"""How much of the end of a parser process' standard error is kept for the report of its death."""
WHOLE_READ_BYTES = 1 * MIB
"""A file up to this size is read once and shared by all steps of its identification."""
TLSH_MAX_BYTES = 4 * GIB - 1
"""TLSH counts bytes in 32 bits; a larger file has no TLSH."""
MAGIC_TEXT_MAX_CHARACTERS = 4096
"""Longest description published; libmagic's may quote titles out of the file."""
FORMAT_BLOCK_BYTES = 32_000
"""The start of a file that format indicators and text rules look at (dispatcher contract, section 17)."""
FORMAT_TIMEOUT_SECONDS = 10
"""Longest time the text rules of the file formats may take on one file."""
ZIP_DIRECTORY_MAX_BYTES = 8 * MIB
"""How much of a ZIP file's directory is read to tell its format."""
PDF_SEARCH_MAX_BYTES = 64 * MIB
"""How much of a PDF is searched for marks of encryption and portfolios."""
YARA_TIMEOUT_SECONDS = 30
"""Longest time user rules may take on one file before their hits are given up."""
YARA_HITS = 500
"""Most rule hits kept of one file."""
YARA_TAGS = 20
YARA_META = 20
YARA_TEXT_MAX_CHARACTERS = 256
"""Of one hit: most tags, most metadata entries, longest text in them."""
RULE_FILES = 10_000
"""Most rule files in the rules folder."""
RULE_FILE_MAX_BYTES = 16 * MIB
"""Largest rule file; a larger one is quarantined."""
RULES_CHECK_SECONDS = 5.0
"""How often the rules folder is looked at for changes."""

# --- index ---
SEARCH_PAGE_MAX = 1000
INDEX_CALL_TIMEOUT_SECONDS = 60.0
QUERY_DEPTH_MAX = 20
QUERY_PARTS_MAX = 200
QUERY_VALUES_MAX = 1000
"""Most values one query may look for, over all its parts."""
QUERY_SORTS_MAX = 8
QUERY_MAX_CHARACTERS = 16 * KIB
"""Longest search typed as text."""
PAGE_MARK_MAX_CHARACTERS = 64 * KIB
"""Longest page mark read; one holds the sort values of a single document."""
GROUP_SHARD_SIZE = 10_000
"""Values of a field OpenSearch counts exactly in each shard when grouping."""
DOCUMENT_ID_MAX_BYTES = 512
"""Longest document id, as in OpenSearch."""
INDEX_BULK_MAX_BYTES = 8 * MIB
"""Most bytes of documents in one request to OpenSearch, unless a single one is larger."""
INDEX_READERS = 3
"""Searches over the SQLite index that run side by side."""
DATASTREAMS_PER_EVENT = 100
FEATURES_PER_EVENT = 10_000
INDEX_FIELDS_MAX = 20_000
"""Most fields of a family, feature names included; the templates tell OpenSearch the same."""
FEATURE_NAME_MAX_CHARACTERS = 200
"""Longest feature name that becomes a field of its own."""

# --- database ---
DATABASE_CALL_TIMEOUT_SECONDS = 60.0
DATABASE_MIGRATE_TIMEOUT_SECONDS = 6 * 3600.0
"""Longest time for bringing the tables up to date; an old archive gets several indexes built."""
DATABASE_CONNECT_TIMEOUT_SECONDS = 10.0
DATABASE_BUSY_TIMEOUT_SECONDS = 30.0
"""Longest wait for another process that writes to the same SQLite file."""
DATABASE_CONNECTIONS = 10
"""Most connections one process keeps to its database."""

# --- tasks (metastore contract, section 9) ---
TASK_LAPSE_SECONDS = 30 * 60
"""A task not heard of for this long is lost."""
TASK_RETRIES = 3
TASK_BACKOFF_SECONDS = (0, 5 * 60, 15 * 60)
"""Pause before retry 1, 2, 3; the last one holds for all further ones."""
TASK_TRIES_REMEMBERED = 128
"""Earlier tries of a task by whose ids it is still found; more than the most retries a setting allows."""

LAPSES_AT_ONCE = 1000
"""Notices of lapsed tasks appended together."""
LOST_WAIT_SECONDS = 20.0
"""Longest wait of a pass by hand for what plugins said; without a worker there is no end to it."""
LOST_LOOK_SECONDS = 0.1
"""Pause between two looks meanwhile."""

# --- reprocess (dispatcher contract, section 24) ---
REPROCESS_BATCH_RECORDS = 1000
"""Records copied together; a run that is interrupted repeats at most so many."""
REPROCESS_WAIT_SECONDS = 1.0
"""Longest wait for the next records."""
REPROCESS_PAUSE_SECONDS = 60.0
"""Time between two pauses of plugins while events are copied."""
REPROCESS_SKIPS_LOGGED = 100
"""Records of one topic whose skipping is logged each; more are only counted."""

# --- plugin kit (dispatcher contract, section 26) ---
PLUGIN_FETCH_SECONDS = 10
"""How long the hub may hold a fetch, and the least time between two that found nothing."""
PLUGIN_FETCH_TIMEOUT_SECONDS = 15.0
"""Longest wait for the answer to a fetch."""
PLUGIN_CALL_SECONDS = 60.0
"""Longest wait for any other answer of the hub, not counting the bytes."""
PLUGIN_BYTES_PER_SECOND = 1 * MIB
"""A stream gets more time: its size over this."""
PLUGIN_RANGE_BYTES = 1 * MIB
"""Bytes of a stream asked for at a time."""
PLUGIN_REPORT_ATTEMPTS = 12
"""Tries of a final status: about two minutes, which outlasts a restart of the hub."""
PLUGIN_HEARTBEAT_SECONDS = 30.0
"""Time between two signs that a task is worked on."""
PLUGIN_JOB_SECONDS = 600.0
"""Longest time a function may work on one file, unless its plugin says otherwise."""
PLUGIN_CANCEL_SECONDS = 5.0
"""Longest wait for an async function that was cancelled to end."""
PLUGIN_STUCK_MAX = 8
"""A plugin is stopped when so many of its functions run on after their time."""
PLUGIN_STOP_SECONDS = 30.0
"""How long plugins inside a service may take to finish the task at hand when it stops."""
PLUGIN_CONTENT_MAX_BYTES = 200 * MIB
"""Largest file a plugin is handed, unless it says otherwise."""
PLUGIN_DEPTH_MAX = 10
"""A file whose path has so many hops is opted out of."""
PLUGIN_CHILDREN_MAX = 1000
"""Most children and derived streams of one job."""
PLUGIN_TITLE_CHARACTERS = 500
"""Longest title of an error in a status."""
PLUGIN_MESSAGE_CHARACTERS = 16 * KIB
"""Longest message in a status; of a longer one the end is kept."""

# --- web ---
WEB_LINE_MAX_BYTES = 32 * KIB
"""Longest request line, which holds the query, and longest header."""
WEB_HEADERS_MAX = 64
"""Most header fields of one request."""
WEB_HEADER_IDLE_SECONDS = 30.0
"""Longest wait for a complete request head, on a fresh connection or between two requests."""
WEB_BODY_IDLE_SECONDS = 60.0
"""Longest silence inside a request body, and longest wait for a reader to take more of an answer."""
PROFILE_MAX_SECONDS = 60.0
"""Longest time one profile looks."""
PROFILE_STEP_SECONDS = 0.01
"""Pause between two looks of a profile."""
PROFILE_DEPTH = 64
"""Most frames of a stack that are shown."""
PROFILE_ROWS = 200
"""Most types of objects that are listed."""
WEB_LINGER_SECONDS = 5.0
"""How long the rest of a refused body is read and dropped, so that the client gets to read why."""
WEB_REQUEST_SECONDS = 90.0
"""Longest time one request may take that neither sends nor receives an object."""
WEB_RETRY_AFTER_SECONDS = 5
"""What a client is told to wait when a part is down."""
WEB_STOP_SECONDS = 10.0
"""Requests under way may finish for this long when the server stops."""
PROBE_SECONDS = 5.0
"""Longest wait for one part to show that it is alive."""
AGENT_STALL_SECONDS = 120.0
"""An agent with records to read whose committed offsets stand still for this long is stalled."""
REFERENCES_MAX = 100
"""Most references of one submission."""
REFERENCE_MAX_CHARS = 1024
"""Longest key or value of a reference."""
FILENAME_MAX_CHARS = 4096
"""Longest file name of a submission."""
QUERY_MAX_CHARS = 8192
"""Longest text of a search."""
LIST_PAGE_MAX = 1000
"""Most tasks, parked entries or topics on one page."""
OBJECT_DOCUMENTS_MAX = 100
"""Most documents shown of one object."""
HURRY_RECORDS_PER_PARTITION = 100_000
"""Newest records of each partition that are looked at for the event of a file to be hurried."""
WHERE_RECORDS_MAX = 2_000_000
"""Most log records one life line reads."""
WHERE_SECONDS = 30.0
"""Longest time one life line reads the log."""
WHERE_HITS_MAX = 1000
"""Most records one life line lists."""

# --- log transport (Faust) ---
BATCH_RECORDS = 500
"""Most records an agent is handed at once."""
STREAM_BUFFER_RECORDS = 8192
"""A stream has enough waiting at this many records."""
STREAM_BUFFER_BYTES = 32 * MIB
"""A stream has enough waiting at this many bytes."""
UNACKNOWLEDGED_RECORDS = 100_000
"""A partition is not read on while this many records of it are delivered and not acknowledged."""
FETCH_WAIT_SECONDS = 0.2
"""Longest wait of one fetch for records; seeks wait for it."""
FETCH_WAIT_BUSY_SECONDS = 0.02
"""The same while another partition waits for room in its buffer."""
FETCH_IDLE_SECONDS = 0.1
"""Pause between two looks for something to fetch when nothing may be fetched."""
REBALANCE_COMMIT_SECONDS = 5.0
"""Longest last commit before partitions are given up."""
COLLECTED_RECORDS = 100_000
"""Most table writes that wait for the log."""
STOP_FLUSH_SECONDS = 4.0
"""Longest wait for each last thing a worker does with the log when it stops."""
LOG_WINDOW_SECONDS = 60.0
LOG_LINES_PER_WINDOW = 5
"""Warnings of one kind that a library may log per window."""
LOG_KINDS = 1000
"""Most kinds of lines remembered."""
LOG_KIND_CHARACTERS = 80
"""How much of a line, before its values are put in, tells its kind."""
GROUP_SESSION_SECONDS = 30.0
"""A worker not heard of for this long loses its partitions."""
GROUP_HEARTBEATS = 10
"""Signs of life a worker sends in that time."""
GROUP_GRACE_SECONDS = 10.0
"""How much longer than that a request to the brokers may take."""
GROUP_REBALANCE_SECONDS = 60.0
"""Longest time workers have to rejoin their group."""
GROUP_POLL_SECONDS = 24 * 60 * 60.0
"""A worker that reads nothing for this long loses its partitions."""
FETCH_PARTITION_BYTES = 2 * MIB
"""Most bytes of one partition in one answer; a larger record still comes, alone."""
PRODUCE_BATCH_BYTES = 256 * KIB
"""Size at which a batch to one partition of Kafka is closed."""
FAUST_WEB_PORT = 6066
"""Where Faust serves its statistics pages unless told otherwise."""
WATCHDOG_SECONDS = 5.0
"""Pause between two looks of the watchdog."""
STALLED_AFTER_SECONDS = 120.0
"""Work that waits this long without any progress makes a worker not ready."""
FETCH_WAIT_EMBEDDED_SECONDS = 1.0
"""Longest wait of one fetch from the embedded log; seeks end it."""
FETCH_PARTITION_RECORDS = 2000
"""Most records of one partition in one fetch from the embedded log."""
SINK_LINGER_SECONDS = 0.1
"""Least time between two fetches of an agent that writes in batches, while few records come."""
PARKED_AT_ONCE = 64
"""Records of one batch put aside together."""
ANSWERS_LOOKED_BACK = 5000
"""Newest records of a topic that are looked through for answers nobody acknowledged."""
AGENT_FAILURES_COUNTED = 16
"""Failures of an agent in a row that lengthen its pause."""
THREAD_LOOK_SECONDS = 0.01
"""Pause between two looks whether a thread has started."""
