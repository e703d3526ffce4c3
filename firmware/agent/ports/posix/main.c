/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices as one process of this machine: each has its flash in a file, its own connection, and
 * runs the compiled model on samples replayed from a file.
 *
 * Build with -DTML_MODEL_NAME=name -DTML_MODEL_HEADER='"name.h"'.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include TML_MODEL_HEADER
#include "agent.h"
#include "file_flash.h"
#include "net.h"
#ifdef TML_LEARN_HEADER
#include TML_LEARN_HEADER
#include "train/rows.h"
#include "train/trainer.h"
#endif

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define MODEL JOIN(TML_MODEL_NAME, _model)

/* A device that learns takes the weights of a small network in one packet. */
enum { RX_BYTES = 4096 + 256, LEARN_RX_BYTES = 16384, TX_BYTES = 8192, NAME_BYTES = 33 };

typedef struct {
    const char *broker, *ca, *credentials, *root_key, *state, *samples;
    const char *vendor, *hardware, *firmware, *sensor, *learn_samples;
    uint32_t inference_ms, report_s, slot_bytes, will_delay_s, backoff_ms, stats_s;
    uint32_t first, count; /* of the lines of the credentials */
    uint64_t opset, learn_rows;
    double cut_percent, connect_rate;
} options_t;

typedef struct {
    const uint8_t *data;
    size_t count; /* samples */
} samples_t;

typedef struct {
    tml_agent_t agent;
    tml_agent_config_t config;
    posix_connection_t connection;
    char tenant[NAME_BYTES], name[NAME_BYTES], password[128], prefix[96];
    size_t next_sample;
    bool reboots;
#ifdef TML_LEARN_HEADER
    tml_train_t train;
    tml_trainer_t trainer;
    tml_trainer_config_t training;
    const float *rows;
    size_t row_count, next_row;
#endif
} device_t;

static samples_t samples;
static device_t *devices;
static uint8_t root_key[1][TML_KEY_BYTES];
static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint32_t micros(void *context) {
    (void)context;
    return (uint32_t)now_us();
}

static uint32_t now_ms(void) {
    return (uint32_t)(now_us() / 1000u);
}

static tml_bytes_t bytes_of(const char *text) {
    return (tml_bytes_t){(const uint8_t *)text, (uint32_t)strlen(text)};
}

/* Sensor data: int8 samples back to back, each all inputs of the network in order. */
static bool next_sample(void *context, const tml_model_t *model, uint8_t *arena) {
    device_t *device = context;
    if (samples.count == 0) return false;
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < model->input_count; ++i) bytes += model->inputs[i].bytes;
    const uint8_t *sample = samples.data + bytes * (device->next_sample++ % samples.count);
    for (uint32_t i = 0; i < model->input_count; ++i) {
        memcpy(arena + model->inputs[i].offset, sample, model->inputs[i].bytes);
        sample += model->inputs[i].bytes;
    }
    return true;
}

static void reboot(void *context) {
    ((device_t *)context)->reboots = true;
}

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s: %s\n", what, why);
    exit(1);
}

static void load_samples(const char *path) {
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < MODEL.input_count; ++i) bytes += MODEL.inputs[i].bytes;
    const int file = open(path, O_RDONLY);
    struct stat info;
    if (file < 0 || fstat(file, &info) != 0) fail(path, strerror(errno));
    if (info.st_size == 0 || (size_t)info.st_size % bytes) {
        fail(path, "is not a whole number of samples of the model's inputs");
    }
    samples.data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (samples.data == MAP_FAILED) fail(path, strerror(errno));
    samples.count = (size_t)info.st_size / bytes;
    close(file);
}

static void load_root_key(const char *text) {
    static char line[2 * TML_KEY_BYTES + 1];
    if (strlen(text) != sizeof line - 1) {
        FILE *file = fopen(text, "r");
        if (!file || !fgets(line, sizeof line, file)) fail(text, "holds no key");
        fclose(file);
        text = line;
    }
    for (size_t i = 0; i < TML_KEY_BYTES; ++i) {
        unsigned value;
        if (!isxdigit(text[2 * i]) || sscanf(text + 2 * i, "%2x", &value) != 1) {
            fail("--root-key", "is not 64 hexadecimal digits, nor a file of them");
        }
        root_key[0][i] = (uint8_t)value;
    }
}

static void *allocate(size_t bytes) {
    void *memory = aligned_alloc(16, (bytes + 15) / 16 * 16);
    if (!memory) fail("memory", strerror(errno));
    memset(memory, 0, bytes);
    return memory;
}

#ifdef TML_LEARN_HEADER
#define LEARN JOIN(TML_MODEL_NAME, _learn)

static int next_row(void *context, float *input, tml_learn_target_t *target) {
    device_t *device = context;
    if (device->row_count == 0) return -1;
    const float *row =
        device->rows + tml_row_floats(&LEARN) * (device->next_row++ % device->row_count);
    tml_row_split(&LEARN, row, input, target);
    return 0;
}

static const float *map_rows(const char *path, size_t *count) {
    const int file = open(path, O_RDONLY);
    struct stat info;
    if (file < 0 || fstat(file, &info) != 0) fail(path, strerror(errno));
    const size_t bytes = (size_t)info.st_size;
    if (bytes == 0 || bytes % (tml_row_floats(&LEARN) * sizeof(float))) {
        fail(path, "is not a whole number of rows of the learner's inputs and target");
    }
    const float *rows = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
    if (rows == MAP_FAILED) fail(path, strerror(errno));
    close(file);
    *count = bytes / (tml_row_floats(&LEARN) * sizeof(float));
    return rows;
}

/* One file whose rows are shared out, or a folder with a file for each device. */
static void give_rows(device_t *device, const options_t *options, uint32_t id) {
    static const float *shared;
    static size_t shared_count;
    struct stat info;
    if (!options->learn_samples) return;
    if (stat(options->learn_samples, &info) == 0 && S_ISDIR(info.st_mode)) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s.f32", options->learn_samples, device->name);
        device->rows = map_rows(path, &device->row_count);
        return;
    }
    if (!shared) shared = map_rows(options->learn_samples, &shared_count);
    device->rows = shared;
    device->row_count = shared_count;
    if (options->learn_rows) {
        const size_t first = (size_t)options->learn_rows * (id + options->first);
        if (first + options->learn_rows > shared_count) {
            fail(options->learn_samples, "has fewer rows than --learn-rows times the devices");
        }
        device->rows = shared + first * tml_row_floats(&LEARN);
        device->row_count = options->learn_rows;
    }
}

static void configure_training(device_t *device, const options_t *options, uint32_t id) {
    enum { ENTRIES = 4096, CAPTURE = 1 << 16 };
    const uint32_t count = LEARN.weight_count;
    give_rows(device, options, id);
    device->training = (tml_trainer_config_t){
        .model = &LEARN,
        .state = allocate(LEARN.state_bytes),
        .work = allocate(LEARN.work_bytes),
        .reference = allocate(count * sizeof(float)),
        .mask = allocate(TML_TRAINER_BITMAP_BYTES(count)),
        .index = allocate(TML_TRAINER_BITMAP_BYTES(count)),
        .input = allocate(LEARN.inputs * sizeof(float)),
        .entries = allocate(ENTRIES * sizeof(tml_learn_entry_t)),
        .entry_count = ENTRIES,
        .capture = allocate(CAPTURE),
        .capture_bytes = CAPTURE,
        .samples = {device, next_row},
    };
    if (!tml_trainer_init(&device->train, &device->training, &device->trainer)) {
        fail("the learner", "does not take its memory");
    }
    device->config.trainer = &device->trainer;
}
#endif

static void configure(device_t *device, const options_t *options, posix_broker_t *broker,
                      uint32_t id) {
    tml_agent_config_t *config = &device->config;
    snprintf(device->prefix, sizeof device->prefix, "tinyml/v1/%s/%s/", device->tenant,
             device->name);
    config->identity = (tml_identity_t){.tenant = bytes_of(device->tenant),
                                        .device = bytes_of(device->name),
                                        .vendor = bytes_of(options->vendor),
                                        .hardware = bytes_of(options->hardware),
                                        .firmware = bytes_of(options->firmware),
                                        .roots = root_key,
                                        .root_count = 1,
                                        .opset = options->opset};
    config->mqtt = (tml_mqtt_config_t){.client_id = bytes_of(device->name),
                                       .prefix = bytes_of(device->prefix),
                                       .subscription = TML_SUBSCRIPTION,
                                       .will_topic = TML_WILL_TOPIC,
                                       .will_delay_s = options->will_delay_s,
                                       .session_expiry_s = 86400,
                                       .keep_alive_s = 300,
                                       .receive_maximum = 4,
                                       .backoff_ms = options->backoff_ms,
                                       .longest_backoff_ms = 60000};
    if (strcmp(device->password, "-") != 0) {
        config->mqtt.user = bytes_of(device->name);
        config->mqtt.password = bytes_of(device->password);
    }
    if (options->sensor) config->sensors[config->sensor_count++] = bytes_of(options->sensor);
    config->model = &MODEL;
    config->arena = allocate(MODEL.arena_bytes);
    config->rx_bytes = options->learn_samples ? LEARN_RX_BYTES : RX_BYTES;
    config->rx = allocate(config->rx_bytes);
    config->tx = allocate(TX_BYTES);
    config->tx_bytes = TX_BYTES;
    config->inference_interval_ms = samples.count ? options->inference_ms : 0;
    config->report_interval_s = options->report_s;
    config->context = device;
    config->micros = micros;
    config->sample = next_sample;
    config->reboot = reboot;
    posix_connection_init(&device->connection, broker, id, &config->transport);
#ifdef TML_LEARN_HEADER
    configure_training(device, options, id);
#endif
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.%s.flash", options->state, device->tenant, device->name);
    if (posix_flash_open(&config->flash, path, options->slot_bytes) != 0) {
        fail(path, strerror(errno));
    }
}

/* Lines "TENANT DEVICE PASSWORD"; a password "-" is none. */
static uint32_t load_devices(const options_t *options) {
    FILE *file = fopen(options->credentials, "r");
    if (!file) fail(options->credentials, strerror(errno));
    uint32_t used = 0, line = 0, room = 0;
    char text[256];
    while (fgets(text, sizeof text, file)) {
        if (line++ < options->first || used == options->count) continue;
        if (used == room) {
            room = room ? 2 * room : 64;
            devices = realloc(devices, room * sizeof *devices);
            if (!devices) fail("memory", strerror(errno));
        }
        device_t *device = &devices[used];
        memset(device, 0, sizeof *device);
        if (sscanf(text, "%32s %32s %127s", device->tenant, device->name, device->password) != 3) {
            fprintf(stderr, "error: %s:%u is not 'TENANT DEVICE PASSWORD'\n", options->credentials,
                    line);
            exit(1);
        }
        ++used;
    }
    fclose(file);
    if (used == 0) fail(options->credentials, "names no device");
    return used;
}

/* One line of JSON about all devices, for programs and people that watch. */
static void print_stats(uint32_t count) {
    uint32_t connected = 0, trial = 0, failed = 0, rolled_back = 0, factory = 0, newest = 0;
    uint32_t on_newest = 0;
    uint64_t inferences = 0;
    for (uint32_t i = 0; i < count; ++i) {
        const tml_record_t *record = &devices[i].agent.update.journal.record;
        connected += devices[i].agent.online;
        inferences += devices[i].agent.inferences;
        trial += record->is_trial;
        failed += record->job && record->job_state == TML_JOB_STATE_FAILED;
        rolled_back += record->job && record->job_state == TML_JOB_STATE_ROLLED_BACK;
        if (record->active == TML_FACTORY) {
            ++factory;
            continue;
        }
        const uint32_t sequence = record->slots[record->active].sequence;
        if (sequence > newest) on_newest = 0;
        if (sequence > newest) newest = sequence;
        on_newest += sequence == newest && !record->is_trial;
    }
    printf("{\"devices\": %u, \"connected\": %u, \"sequence\": %u, \"confirmed\": %u, "
           "\"trial\": %u, \"failed\": %u, \"rolled_back\": %u, \"factory\": %u, "
           "\"inferences\": %llu}\n",
           count, connected, newest, on_newest, trial, failed, rolled_back, factory,
           (unsigned long long)inferences);
    fflush(stdout);
}

static void run(uint32_t count, const options_t *options, int poll) {
    enum { EVENTS = 512 };
    static struct epoll_event events[EVENTS];
    uint32_t *due = allocate(count * sizeof *due);
    const uint32_t start = now_ms();
    uint32_t stats = start;
    for (uint32_t i = 0; i < count; ++i) {
        /* As many devices a second as asked for begin. */
        const double delay = options->connect_rate > 0 ? 1000.0 * i / options->connect_rate : 0;
        due[i] = start + (uint32_t)delay;
        tml_agent_init(&devices[i].agent, &devices[i].config, start);
    }
    while (!stopping) {
        uint32_t now = now_ms();
        int32_t timeout = 1000;
        for (uint32_t i = 0; i < count; ++i) {
            const int32_t left = (int32_t)(due[i] - now);
            if (left < timeout) timeout = left;
        }
        const int ready = epoll_wait(poll, events, EVENTS, timeout > 0 ? timeout : 0);
        now = now_ms();
        for (int i = 0; i < ready; ++i) due[events[i].data.u32] = now;
        for (uint32_t i = 0; i < count; ++i) {
            if ((int32_t)(due[i] - now) > 0) continue;
            device_t *device = &devices[i];
            uint32_t wait = tml_agent_step(&device->agent, now_ms());
            if (posix_connection_has_bytes(&device->connection)) wait = 0;
            due[i] = now_ms() + wait;
            if (device->reboots) {
                device->reboots = false;
                tml_agent_stop(&device->agent);
                device->config.reset_reason = TML_RESET_REASON_SOFTWARE;
                ++device->config.resets;
                tml_agent_init(&device->agent, &device->config, now_ms());
                due[i] = now_ms();
            }
        }
        if (options->stats_s && now - stats >= 1000u * options->stats_s) {
            stats = now;
            print_stats(count);
        }
    }
    for (uint32_t i = 0; i < count; ++i) tml_agent_stop(&devices[i].agent);
    free(due);
}

static const char usage[] =
    "Runs devices of a fleet as one process.\n"
    "  --broker HOST:PORT     of MQTT 5\n"
    "  --ca FILE              certificate authority of the broker; without it there is no TLS\n"
    "  --credentials FILE     lines 'TENANT DEVICE PASSWORD'; '-' is no password\n"
    "  --first N --count N    which lines; all if not given\n"
    "  --root-key HEX|FILE    Ed25519 key that signs, or grants keys that sign\n"
    "  --state DIR            where each device's flash is\n"
    "  --samples FILE         sensor data: int8 inputs of the network, back to back\n"
    "  --inference-interval MS (1000)   --report-interval S (60)   --slot-bytes N\n"
    "  --vendor NAME (generic)  --hardware CLASS (host)  --firmware VERSION (1.0.0)\n"
    "  --sensor KIND  --opset NUMBER  --will-delay S (30)  --backoff MS (1000)\n"
    "  --connect-rate N       devices a second that begin; 0 is all at once\n"
    "  --learn-samples FILE|DIR  training data: float32 rows, inputs then target; a folder has a\n"
    "                         file DEVICE.f32 for each device\n"
    "  --learn-rows N         device i has rows [i N, (i + 1) N) of the file; else all have all\n"
    "  --cut-percent P        of the connections break after random bytes (for tests)\n"
    "  --stats S              print a line of JSON every S seconds\n";

static uint64_t number(const char *name, const char *text) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 0);
    if (errno || end == text || *end) fail(name, "is not a number");
    return value;
}

static void parse(int count, char **arguments, options_t *options) {
    static const struct option names[] = {{"broker", 1, 0, 'b'},
                                          {"ca", 1, 0, 'c'},
                                          {"credentials", 1, 0, 'd'},
                                          {"root-key", 1, 0, 'k'},
                                          {"state", 1, 0, 's'},
                                          {"samples", 1, 0, 'x'},
                                          {"vendor", 1, 0, 'v'},
                                          {"hardware", 1, 0, 'w'},
                                          {"firmware", 1, 0, 'f'},
                                          {"sensor", 1, 0, 'n'},
                                          {"opset", 1, 0, 'o'},
                                          {"inference-interval", 1, 0, 'i'},
                                          {"report-interval", 1, 0, 'r'},
                                          {"slot-bytes", 1, 0, 'z'},
                                          {"will-delay", 1, 0, 'l'},
                                          {"backoff", 1, 0, 'a'},
                                          {"stats", 1, 0, 't'},
                                          {"first", 1, 0, 'F'},
                                          {"count", 1, 0, 'C'},
                                          {"cut-percent", 1, 0, 'p'},
                                          {"connect-rate", 1, 0, 'R'},
                                          {"learn-samples", 1, 0, 'L'},
                                          {"learn-rows", 1, 0, 'M'},
                                          {"help", 0, 0, 'h'},
                                          {0, 0, 0, 0}};
    for (int c; (c = getopt_long(count, arguments, "h", names, NULL)) != -1;) {
        switch (c) {
        case 'b':
            options->broker = optarg;
            break;
        case 'c':
            options->ca = optarg;
            break;
        case 'd':
            options->credentials = optarg;
            break;
        case 'k':
            options->root_key = optarg;
            break;
        case 's':
            options->state = optarg;
            break;
        case 'x':
            options->samples = optarg;
            break;
        case 'v':
            options->vendor = optarg;
            break;
        case 'w':
            options->hardware = optarg;
            break;
        case 'f':
            options->firmware = optarg;
            break;
        case 'n':
            options->sensor = optarg;
            break;
        case 'o':
            options->opset = number("--opset", optarg);
            break;
        case 'i':
            options->inference_ms = (uint32_t)number("--inference-interval", optarg);
            break;
        case 'r':
            options->report_s = (uint32_t)number("--report-interval", optarg);
            break;
        case 'z':
            options->slot_bytes = (uint32_t)number("--slot-bytes", optarg);
            break;
        case 'l':
            options->will_delay_s = (uint32_t)number("--will-delay", optarg);
            break;
        case 'a':
            options->backoff_ms = (uint32_t)number("--backoff", optarg);
            break;
        case 't':
            options->stats_s = (uint32_t)number("--stats", optarg);
            break;
        case 'F':
            options->first = (uint32_t)number("--first", optarg);
            break;
        case 'C':
            options->count = (uint32_t)number("--count", optarg);
            break;
        case 'L':
            options->learn_samples = optarg;
            break;
        case 'M':
            options->learn_rows = number("--learn-rows", optarg);
            break;
        case 'p':
            options->cut_percent = strtod(optarg, NULL);
            break;
        case 'R':
            options->connect_rate = strtod(optarg, NULL);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!options->broker || !options->credentials || !options->root_key || !options->state) {
        fputs("error: --broker, --credentials, --root-key and --state are needed\n", stderr);
        exit(2);
    }
}

int main(int argument_count, char **arguments) {
    options_t options = {.vendor = "generic",
                         .hardware = "host",
                         .firmware = "1.0.0",
                         .inference_ms = 1000,
                         .report_s = 60,
                         .will_delay_s = 30,
                         .backoff_ms = 1000,
                         .opset = UINT64_MAX,
                         .count = UINT32_MAX,
                         .slot_bytes = MODEL.weights_bytes + MODEL.weights_bytes / 2};
    parse(argument_count, arguments, &options);
    /* One socket a device. */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);

    static posix_broker_t broker;
    if (posix_broker_init(&broker, options.broker, options.ca) != 0) return 1;
    broker.cut_fraction = options.cut_percent / 100;
    broker.poll = epoll_create1(EPOLL_CLOEXEC);
    load_root_key(options.root_key);
    if (options.samples) load_samples(options.samples);
    if (mkdir(options.state, 0700) != 0 && errno != EEXIST) fail(options.state, strerror(errno));
    const uint32_t count = load_devices(&options);
    for (uint32_t i = 0; i < count; ++i) configure(&devices[i], &options, &broker, i);
    run(count, &options, broker.poll);
    print_stats(count);
    return 0;
}
