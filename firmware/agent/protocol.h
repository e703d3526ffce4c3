/* SPDX-License-Identifier: Apache-2.0
 *
 * Generated from protocol.cddl by `python -m fleet.wire.generate`.
 */
/* clang-format off */
#ifndef TINYML_AGENT_PROTOCOL_H
#define TINYML_AGENT_PROTOCOL_H

#include "codec.h"

/*
 * Why something was refused or did not work. The same value everywhere: on the wire, in the audit
 * trail and in metrics.
 */
typedef enum {
    TML_REASON_OK = 0, /* nothing is wrong */
    TML_REASON_BAD_MESSAGE = 1, /* not a message of this protocol */
    TML_REASON_TOO_LARGE = 2, /* larger than the receiver's buffer */
    TML_REASON_BUSY = 3, /* another job of this kind is running */
    TML_REASON_UNSUPPORTED = 4, /* the device has no such function */
    TML_REASON_TIMED_OUT = 5, /* the deadline passed */
    TML_REASON_CANCELLED = 6, /* the server asked for it */
    TML_REASON_UNKNOWN_KEY = 10, /* no trusted key has the envelope's key id */
    TML_REASON_BAD_SIGNATURE = 11, /* the signature does not verify */
    TML_REASON_KEY_EXPIRED = 12, /* the release key's grant has expired */
    TML_REASON_KEY_SCOPE = 13, /* the release key was not granted for this tenant or component */
    TML_REASON_REPLAYED = 14, /* the sequence number is not above the last one accepted */
    TML_REASON_EXPIRED = 15, /* the manifest has expired */
    TML_REASON_WRONG_VENDOR = 20, /* made for another vendor's devices */
    TML_REASON_WRONG_CLASS = 21, /* made for other hardware classes */
    TML_REASON_WRONG_DEVICE = 22, /* made for one device, and this is another */
    TML_REASON_WRONG_COMPONENT = 23, /* the device has no such component */
    TML_REASON_WRONG_ABI = 24, /* the weights fit another network structure */
    TML_REASON_WRONG_OPSET = 25, /* needs operators that the firmware lacks */
    TML_REASON_ARENA_TOO_SMALL = 26, /* needs more RAM than the device reserves */
    TML_REASON_FLASH_TOO_SMALL = 27, /* does not fit the slot */
    TML_REASON_UNKNOWN_BLOB = 30, /* the server has no such artefact for this device */
    TML_REASON_BAD_OFFSET = 31, /* beyond the end of the artefact */
    TML_REASON_DIGEST_MISMATCH = 32, /* what was received is not what was signed */
    TML_REASON_SELFTEST_MISMATCH = 33, /* the golden input gave other outputs than the manifest states */
    TML_REASON_FLASH_ERROR = 34, /* the flash reports a failed write or erase */
    TML_REASON_NO_PASSIVE_SLOT = 35, /* there is no older model to go back to */
    TML_REASON_NOT_CONFIRMED = 36, /* the trial ended by a reset before it was confirmed */
    TML_REASON_UNHEALTHY = 37, /* the trial ended because the device judged itself unhealthy */
    TML_REASON_ROLLED_BACK = 38, /* the server asked for the older model */
    TML_REASON_UNKNOWN_MODEL = 40, /* the training job is for another network */
    TML_REASON_BAD_CONFIG = 41, /* a training parameter is missing or out of range */
    TML_REASON_NO_DATA = 42, /* there are not enough samples to train on */
    TML_REASON_NOT_FINITE = 43, /* training gave a NaN or an infinity */
    TML_REASON_STALE_ROUND = 44, /* the round is over */
    TML_REASON_WRONG_SHAPE = 45, /* the arrays have another size than the model's */
} tml_reason_t;

/* What the device is doing about a job. */
typedef enum {
    TML_JOB_STATE_RECEIVED = 0, /* the manifest was verified and waits for its start */
    TML_JOB_STATE_DOWNLOADING = 1, /* chunks are being written to the passive slot */
    TML_JOB_STATE_VERIFYING = 2, /* the digest is being checked */
    TML_JOB_STATE_SELF_TESTING = 3, /* the new model runs on its golden inputs */
    TML_JOB_STATE_TRIAL = 4, /* the new model runs and is not yet confirmed */
    TML_JOB_STATE_CONFIRMED = 5, /* the new model is the device's model */
    TML_JOB_STATE_REJECTED = 6, /* refused before anything was written */
    TML_JOB_STATE_FAILED = 7, /* refused after something was written */
    TML_JOB_STATE_ROLLED_BACK = 8, /* the older model runs again */
    TML_JOB_STATE_CANCELLED = 9, /* ended by the server */
} tml_job_state_t;

typedef enum {
    TML_JOB_ACTION_INSTALL = 0, /* download, verify, try and confirm the manifest's artefact */
    TML_JOB_ACTION_ROLLBACK = 1, /* activate the passive slot, which holds `digest`; nothing is downloaded */
    TML_JOB_ACTION_CANCEL = 2, /* end the running job; during a trial this is a rollback */
    TML_JOB_ACTION_CONFIRM = 3, /* end the running trial well, before its soak time is over */
} tml_job_action_t;

typedef enum {
    TML_COMPONENT_MODEL = 0, /* weights of the network compiled into the firmware, and its golden inputs */
    TML_COMPONENT_FIRMWARE = 1, /* the firmware image */
} tml_component_t;

typedef enum {
    TML_SLOT_STATE_EMPTY = 0, /* nothing usable */
    TML_SLOT_STATE_PARTIAL = 1, /* a download stopped at `offset` */
    TML_SLOT_STATE_COMPLETE = 2, /* verified, never run */
    TML_SLOT_STATE_TRIAL = 3, /* running, not confirmed */
    TML_SLOT_STATE_CONFIRMED = 4, /* ran well */
    TML_SLOT_STATE_BAD = 5, /* failed its trial or its digest */
} tml_slot_state_t;

typedef enum {
    TML_RESET_REASON_POWER_ON = 0, /* power came back, or the cause is unknown */
    TML_RESET_REASON_WATCHDOG = 1, /* the watchdog bit */
    TML_RESET_REASON_SOFTWARE = 2, /* the device asked for it */
    TML_RESET_REASON_FAULT = 3, /* the processor reported a fault */
} tml_reset_reason_t;

typedef enum {
    TML_SEVERITY_DEBUG = 0, /* for developers */
    TML_SEVERITY_INFO = 1, /* normal operation */
    TML_SEVERITY_WARNING = 2, /* unexpected, dealt with */
    TML_SEVERITY_ERROR = 3, /* something did not work */
} tml_severity_t;

typedef enum {
    TML_RPC_COMMAND_PING = 0, /* answer, nothing else */
    TML_RPC_COMMAND_REBIRTH = 1, /* send hello again */
    TML_RPC_COMMAND_REPORT = 2, /* send a report now */
    TML_RPC_COMMAND_REBOOT = 3, /* restart */
    TML_RPC_COMMAND_FORGET_ADAPTATION = 4, /* drop what was learned on the device */
} tml_rpc_command_t;

typedef enum {
    TML_TRAIN_PHASE_TRAIN = 0, /* learn from local samples, return weights or changes */
    TML_TRAIN_PHASE_EVALUATE = 1, /* return the loss on local samples, change nothing */
    TML_TRAIN_PHASE_STATISTICS = 2, /* return running statistics, change nothing */
    TML_TRAIN_PHASE_GRADIENTS = 3, /* train, and return the largest gradients of inactive weights as well */
} tml_train_phase_t;

typedef enum {
    TML_ARRAY_KIND_NONE = 0, /* no array: metrics only */
    TML_ARRAY_KIND_WEIGHTS = 1, /* parameters after training */
    TML_ARRAY_KIND_DELTA = 2, /* parameters after training minus before */
    TML_ARRAY_KIND_STATISTICS = 3, /* per feature: count once, then means, then sums of squared deviations */
    TML_ARRAY_KIND_GRADIENTS = 4, /* gradients of inactive weights */
} tml_array_kind_t;

typedef enum {
    TML_DTYPE_F32 = 0, /* IEEE 754 binary32, little endian */
    TML_DTYPE_F16 = 1, /* IEEE 754 binary16, little endian */
    TML_DTYPE_I8 = 2, /* two's complement */
} tml_dtype_t;

/* How the positions of sparse values are told. */
typedef enum {
    TML_INDEX_CODING_DENSE = 0, /* no positions: every value, in order */
    TML_INDEX_CODING_BITMAP = 1, /* one bit a position, least significant first, before the values */
    TML_INDEX_CODING_U16 = 2, /* a little-endian 16-bit position before the values, one each, ascending */
    TML_INDEX_CODING_U32 = 3, /* the same with 32 bits */
    TML_INDEX_CODING_MASK = 4, /* the positions of the job's mask, in order */
} tml_index_coding_t;

/* A model in a slot, or the one compiled in. */
enum {
    TML_MODEL_INFO_HAS_OFFSET = 1 << 3,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    tml_bytes_t digest; /* SHA-256 of the artefact */
    uint32_t sequence; /* of its manifest; 0 for the model compiled in */
    uint8_t state; /* of its slot */
    uint32_t offset; /* bytes present of a partial download */
} tml_model_info_t;

/* What the device can learn. */
enum {
    TML_LEARNING_INFO_HAS_CLIPS = 1 << 2,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint64_t abi; /* hash of the trainable structure */
    uint32_t parameters; /* number of trainable weights */
    bool clips; /* whether it clips its change to a job's `clip_norm` */
} tml_learning_info_t;

/* Birth: the first message of a connection, on `up/hello`. */
enum {
    TML_HELLO_HAS_PASSIVE = 1 << 12,
    TML_HELLO_HAS_SENSORS = 1 << 17,
    TML_HELLO_HAS_LEARNING = 1 << 18,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* random, new at each boot */
    uint32_t seq; /* counts the device's messages on all topics since boot; (boot_id, seq) names one */
    uint8_t protocol; /* version of this document */
    tml_bytes_t vendor; /* who made the device */
    tml_bytes_t hardware; /* class of the device */
    tml_bytes_t firmware; /* version of the firmware */
    uint64_t abi; /* of the network compiled in */
    uint64_t opset; /* bitmap of operators that the firmware holds */
    uint32_t arena_bytes; /* RAM reserved for activations */
    uint32_t slot_bytes; /* largest artefact that fits */
    uint32_t packet_bytes; /* largest MQTT packet that the device accepts */
    tml_model_info_t model; /* the model that runs */
    tml_model_info_t passive; /* the model in the other slot */
    bool can_rollback; /* whether `passive` would be activated on demand */
    uint8_t reset_reason; /* of the last reset */
    uint32_t resets; /* since the last power-on */
    uint32_t twin_version; /* of the desired state applied last */
    tml_bytes_t sensors[8]; /* kinds of sensors, for example "microphone" */
    uint32_t sensors_count;
    tml_learning_info_t learning; /* absent when the device cannot learn */
} tml_hello_t;

/*
 * Retained on `up/presence`. Also the last will, with `online` false and its session's boot_id.
 */
typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of the session that this is about */
    bool online; /* whether the device is connected */
} tml_presence_t;

/* Reported state, on `up/twin`. */
enum {
    TML_TWIN_REPORTED_HAS_PASSIVE = 1 << 5,
    TML_TWIN_REPORTED_HAS_PROPERTIES = 1 << 7,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    uint32_t version; /* of the desired state applied last */
    uint8_t reason; /* ok, or why that version was not applied */
    tml_model_info_t model; /* the model that runs */
    tml_model_info_t passive; /* the model in the other slot */
    uint32_t report_interval_s; /* in use; 0 is off */
    tml_bytes_t properties; /* the application's */
} tml_twin_reported_t;

/*
 * Progress and result of a job, on `up/job`. A job offered again is answered with its state.
 */
enum {
    TML_JOB_STATUS_HAS_SEQUENCE = 1 << 5,
    TML_JOB_STATUS_HAS_OFFSET = 1 << 6,
    TML_JOB_STATUS_HAS_LATENCY_US = 1 << 7,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    uint32_t job; /* number of the job */
    uint8_t state; /* what happens now */
    uint8_t reason; /* ok, or why not */
    uint32_t sequence; /* of the manifest, once it is verified */
    uint32_t offset; /* bytes written so far */
    uint32_t latency_us; /* of one inference of the new model */
} tml_job_status_t;

/* Asks for bytes of an artefact, on `up/blob`. The answers come on `down/blob`. */
typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    tml_bytes_t digest; /* SHA-256 of the whole artefact */
    uint32_t offset; /* of the first byte */
    uint16_t size; /* of each chunk; a last one may be shorter */
    uint8_t count; /* how many chunks in a row */
} tml_blob_request_t;

/* Telemetry, on `up/report`. */
enum {
    TML_REPORT_HAS_BEST = 1 << 5,
    TML_REPORT_HAS_SCORE = 1 << 6,
    TML_REPORT_HAS_OUTPUTS = 1 << 7,
    TML_REPORT_HAS_LATENCY_US = 1 << 8,
    TML_REPORT_HAS_STACK_BYTES = 1 << 9,
    TML_REPORT_HAS_DROPPED = 1 << 10,
    TML_REPORT_HAS_VALUES = 1 << 11,
    TML_REPORT_HAS_HISTOGRAM = 1 << 12,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    uint32_t uptime_s; /* since boot */
    uint32_t model_sequence; /* of the model that ran */
    uint32_t inferences; /* since boot */
    uint16_t best; /* index of the largest output of the last inference */
    float score; /* that output, dequantised */
    tml_bytes_t outputs; /* of the last inference, int8 */
    uint32_t latency_us; /* of the last inference */
    uint32_t stack_bytes; /* deepest stack use */
    uint32_t dropped; /* messages that were not sent since boot */
    float values[16]; /* measurements of the application */
    uint32_t values_count;
    uint32_t histogram[16]; /* how often each output was the largest since boot */
    uint32_t histogram_count;
} tml_report_t;

/* A line for people, on `up/log`. */
typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    uint32_t uptime_s; /* since boot */
    uint8_t severity; /* how much it matters */
    tml_bytes_t text; /* the line */
} tml_log_t;

/* Answer to a command, on `up/rpc`. */
typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    uint32_t call; /* of the request */
    uint8_t reason; /* ok, or why not */
} tml_rpc_reply_t;

/*
 * Result of a training job, on `up/train`. An array longer than a packet comes in parts: equal but
 * for `offset` and `data`, in order; the metrics count once.
 */
enum {
    TML_TRAIN_REPLY_HAS_DTYPE = 1 << 6,
    TML_TRAIN_REPLY_HAS_CODING = 1 << 7,
    TML_TRAIN_REPLY_HAS_TOTAL = 1 << 8,
    TML_TRAIN_REPLY_HAS_CRC = 1 << 9,
    TML_TRAIN_REPLY_HAS_OFFSET = 1 << 10,
    TML_TRAIN_REPLY_HAS_DATA = 1 << 11,
    TML_TRAIN_REPLY_HAS_NUM_EXAMPLES = 1 << 12,
    TML_TRAIN_REPLY_HAS_LOSS = 1 << 13,
    TML_TRAIN_REPLY_HAS_ACCURACY = 1 << 14,
    TML_TRAIN_REPLY_HAS_TRAIN_US = 1 << 15,
    TML_TRAIN_REPLY_HAS_CLIPPED = 1 << 16,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t boot_id; /* of this boot */
    uint32_t seq; /* of this message */
    uint32_t job; /* of the request */
    uint32_t round; /* of the request */
    uint8_t reason; /* ok, or why there is no result */
    uint8_t kind; /* of the array */
    uint8_t dtype; /* of its values */
    uint8_t coding; /* of its positions */
    uint32_t total; /* bytes of the array, positions and values */
    uint32_t crc; /* CRC-32 (IEEE 802.3) of these bytes */
    uint32_t offset; /* of `data` in them */
    tml_bytes_t data; /* this part */
    uint32_t num_examples; /* samples used */
    float loss; /* mean over them */
    float accuracy; /* fraction of them, for classifiers */
    uint32_t train_us; /* time it took */
    float clipped; /* norm to which the change was clipped */
} tml_train_reply_t;

/* A model that should run. */
typedef struct {
    uint32_t has; /* which optional fields are there */
    tml_bytes_t digest; /* SHA-256 of the artefact */
    uint32_t sequence; /* of its manifest */
} tml_model_target_t;

/* Desired state, on `down/twin`; whole, never a difference. */
enum {
    TML_TWIN_DESIRED_HAS_MODEL = 1 << 1,
    TML_TWIN_DESIRED_HAS_REPORT_INTERVAL_S = 1 << 2,
    TML_TWIN_DESIRED_HAS_TIME_S = 1 << 3,
    TML_TWIN_DESIRED_HAS_PROPERTIES = 1 << 4,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t version; /* grows with each change; a device ignores versions it has applied */
    tml_model_target_t model; /* absent means as it is */
    uint32_t report_interval_s; /* between reports; 0 turns them off */
    uint32_t time_s; /* now, seconds since 1970 */
    tml_bytes_t properties; /* the application's */
} tml_twin_desired_t;

/* An assignment, on `down/job`. */
enum {
    TML_JOB_HAS_MANIFEST = 1 << 2,
    TML_JOB_HAS_GRANT = 1 << 3,
    TML_JOB_HAS_DIGEST = 1 << 4,
    TML_JOB_HAS_SOAK_S = 1 << 5,
    TML_JOB_HAS_JITTER_S = 1 << 6,
    TML_JOB_HAS_DEADLINE_S = 1 << 7,
    TML_JOB_HAS_TIME_S = 1 << 8,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t job; /* its number, unique for the device */
    uint8_t action; /* what to do */
    tml_bytes_t manifest; /* COSE_Sign1 over a manifest; with install */
    tml_bytes_t grant; /* COSE_Sign1 by a root key over a key_grant, if it was not the root that signed */
    tml_bytes_t digest; /* of the passive slot; with rollback */
    uint32_t soak_s; /* how long a trial lasts before it is confirmed */
    uint32_t jitter_s; /* start after a random time up to this */
    uint32_t deadline_s; /* give up after this */
    uint32_t time_s; /* now, seconds since 1970 */
} tml_job_t;

/* Bytes of an artefact, on `down/blob`. */
enum {
    TML_BLOB_REPLY_HAS_DATA = 1 << 3,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    tml_bytes_t blob; /* the first bytes of its digest */
    uint32_t offset; /* of `data` */
    uint8_t reason; /* ok, or why there is no data */
    tml_bytes_t data; /* the chunk */
} tml_blob_reply_t;

/* A command, on `down/rpc`. */
typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t call; /* a number for the answer */
    uint8_t command; /* what to do */
} tml_rpc_request_t;

/*
 * A training job, on `down/train`. Parameters come in `data`, or are pulled by `digest` like an
 * artefact when they are larger than a packet; the same holds for the mask.
 */
enum {
    TML_TRAIN_JOB_HAS_DATA = 1 << 7,
    TML_TRAIN_JOB_HAS_MASK_DIGEST = 1 << 8,
    TML_TRAIN_JOB_HAS_MASK = 1 << 9,
    TML_TRAIN_JOB_HAS_BATCH = 1 << 12,
    TML_TRAIN_JOB_HAS_ANSWER = 1 << 13,
    TML_TRAIN_JOB_HAS_ANSWER_DTYPE = 1 << 14,
    TML_TRAIN_JOB_HAS_TOP = 1 << 15,
    TML_TRAIN_JOB_HAS_PROXIMAL = 1 << 16,
    TML_TRAIN_JOB_HAS_CLIP_NORM = 1 << 17,
    TML_TRAIN_JOB_HAS_GLOBAL_PARAMETERS = 1 << 18,
    TML_TRAIN_JOB_HAS_LOCAL_STEPS = 1 << 19,
    TML_TRAIN_JOB_HAS_LOCAL_LR = 1 << 20,
    TML_TRAIN_JOB_HAS_BLOCK_FIRST = 1 << 21,
    TML_TRAIN_JOB_HAS_BLOCK_COUNT = 1 << 22,
    TML_TRAIN_JOB_HAS_TOP_GRADIENTS = 1 << 23,
    TML_TRAIN_JOB_HAS_SEED = 1 << 24,
    TML_TRAIN_JOB_HAS_DEADLINE_S = 1 << 25,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint32_t job; /* its number, unique for the device */
    uint32_t round; /* of the federation */
    uint8_t phase; /* what to do */
    uint64_t abi; /* of the trainable structure */
    uint8_t dtype; /* of the parameters */
    tml_bytes_t digest; /* SHA-256 of the parameters */
    uint32_t size; /* of the parameters in bytes */
    tml_bytes_t data; /* the parameters */
    tml_bytes_t mask_digest; /* SHA-256 of the mask */
    tml_bytes_t mask; /* one bit a parameter, least significant first; 1 is active */
    uint32_t steps; /* samples to learn from, or to evaluate on */
    float lr; /* learning rate */
    uint16_t batch; /* samples a step; 1 if absent */
    uint8_t answer; /* what to return; weights if absent */
    uint8_t answer_dtype; /* f32 if absent */
    float top; /* fraction of the largest changes to return; all if absent */
    float proximal; /* weight of the proximal term */
    float clip_norm; /* L2 norm to which the change is clipped */
    uint32_t global_parameters; /* this many leading ones travel; the rest stay on the device */
    uint32_t local_steps; /* samples for rebuilding the rest first */
    float local_lr; /* learning rate of that */
    uint32_t block_first; /* first parameter whose gradients are wanted */
    uint32_t block_count; /* number of them */
    uint32_t top_gradients; /* how many of the largest to return */
    uint32_t seed; /* of everything random */
    uint32_t deadline_s; /* give up after this */
} tml_train_job_t;

/*
 * What an artefact is and which devices may run it. The payload of a COSE_Sign1 (RFC 9052) with
 * EdDSA over Ed25519. Its fields map to those of RFC 9124.
 */
enum {
    TML_MANIFEST_HAS_DEVICE = 1 << 4,
    TML_MANIFEST_HAS_EXPIRES_S = 1 << 14,
    TML_MANIFEST_HAS_NAME = 1 << 15,
    TML_MANIFEST_HAS_TENANT = 1 << 16,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint8_t version; /* 1 */
    uint32_t sequence; /* grows with each release; a device never accepts one twice */
    tml_bytes_t vendor; /* whose devices */
    tml_bytes_t classes[8]; /* hardware classes */
    uint32_t classes_count;
    tml_bytes_t device; /* the only one, if it is for one */
    uint8_t component; /* what is replaced */
    tml_bytes_t digest; /* SHA-256 of the artefact: the weights, then the golden inputs */
    uint32_t size; /* of the artefact in bytes */
    uint64_t abi; /* structure that the weights fit */
    uint64_t opset; /* operators it needs */
    uint32_t arena_bytes; /* RAM it needs for activations */
    uint32_t weights_bytes; /* of the artefact; golden inputs follow */
    uint16_t golden_inputs; /* how many, each all inputs of the network in order */
    tml_bytes_t golden_outputs; /* SHA-256 of all outputs for all golden inputs, in order */
    uint32_t expires_s; /* seconds since 1970 */
    tml_bytes_t name; /* for people */
    tml_bytes_t tenant; /* whose devices */
} tml_manifest_t;

/* By which a root key lets a release key sign: the payload of a COSE_Sign1 by the root. */
enum {
    TML_KEY_GRANT_HAS_TENANT = 1 << 3,
    TML_KEY_GRANT_HAS_FIRST_SEQUENCE = 1 << 5,
};

typedef struct {
    uint32_t has; /* which optional fields are there */
    uint8_t version; /* 1 */
    tml_bytes_t key; /* the release key, Ed25519 */
    uint8_t component; /* that it may sign */
    tml_bytes_t tenant; /* that it may sign for; all if absent */
    uint32_t expires_s; /* seconds since 1970 */
    uint32_t first_sequence; /* it may sign no lower one */
} tml_key_grant_t;

enum {
    TML_MESSAGE_MODEL_INFO = 0,
    TML_MESSAGE_LEARNING_INFO = 1,
    TML_MESSAGE_HELLO = 2,
    TML_MESSAGE_PRESENCE = 3,
    TML_MESSAGE_TWIN_REPORTED = 4,
    TML_MESSAGE_JOB_STATUS = 5,
    TML_MESSAGE_BLOB_REQUEST = 6,
    TML_MESSAGE_REPORT = 7,
    TML_MESSAGE_LOG = 8,
    TML_MESSAGE_RPC_REPLY = 9,
    TML_MESSAGE_TRAIN_REPLY = 10,
    TML_MESSAGE_MODEL_TARGET = 11,
    TML_MESSAGE_TWIN_DESIRED = 12,
    TML_MESSAGE_JOB = 13,
    TML_MESSAGE_BLOB_REPLY = 14,
    TML_MESSAGE_RPC_REQUEST = 15,
    TML_MESSAGE_TRAIN_JOB = 16,
    TML_MESSAGE_MANIFEST = 17,
    TML_MESSAGE_KEY_GRANT = 18,
};

/* By TML_MESSAGE_*. */
extern const tml_message_t tml_messages[];

#endif
