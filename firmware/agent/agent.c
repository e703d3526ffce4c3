/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include "memory.h"

enum {
    PROTOCOL_VERSION = 1,
    CHUNK_OVERHEAD = 128,
    ASK_AGAIN_MS = 10000,
    IDLE_MS = 1000,
    STUCK_MS = 10
};
enum { REPORT_EXPIRY_S = 3600, REQUEST_EXPIRY_S = 60 };

/* What is to be sent, in this order. */
enum { PRESENCE, HELLO, CALL, STATUS, TWIN, BLOB, TRAIN, REPORT, KINDS };

#define TEXT(text)                                                                                 \
    { (const uint8_t *)(text), sizeof(text) - 1 }
static const tml_bytes_t up_topics[KINDS] = {TEXT("up/presence"), TEXT("up/hello"), TEXT("up/rpc"),
                                             TEXT("up/job"),      TEXT("up/twin"),  TEXT("up/blob"),
                                             TEXT("up/train"),    TEXT("up/report")};
static const tml_bytes_t blob_answer = TEXT("down/blob");

static void want(tml_agent_t *agent, uint32_t kind) {
    agent->pending = (uint16_t)(agent->pending | 1u << kind);
}

static bool is_wanted(const tml_agent_t *agent, uint32_t kind) {
    return agent->pending >> kind & 1;
}

static void sent(tml_agent_t *agent, uint32_t kind) {
    agent->pending = (uint16_t)(agent->pending & ~(1u << kind));
}

/* ---- messages to the server: each writes one and returns its size */

static uint32_t put_presence(const tml_agent_t *agent, bool online, uint8_t *to, uint32_t room) {
    tml_presence_t presence = {.boot_id = agent->boot_id, .online = online};
    return tml_encode(TML_MESSAGE_PRESENCE, &presence, to, room);
}

static uint32_t chunk_bytes(const tml_agent_config_t *config) {
    const uint32_t room = (config->rx_bytes - CHUNK_OVERHEAD) / TML_WRITE_BYTES * TML_WRITE_BYTES;
    return room < UINT16_MAX / TML_WRITE_BYTES * TML_WRITE_BYTES
               ? room
               : UINT16_MAX / TML_WRITE_BYTES * TML_WRITE_BYTES;
}

static __attribute__((noinline)) uint32_t put_hello(const tml_agent_t *agent, uint32_t seq,
                                                    uint8_t *to, uint32_t room) {
    const tml_agent_config_t *config = agent->config;
    const tml_update_t *update = &agent->update;
    uint8_t factory[TML_DIGEST_BYTES];
    tml_hello_t hello;
    memset(&hello, 0, sizeof hello);
    hello.boot_id = agent->boot_id;
    hello.seq = seq;
    hello.protocol = PROTOCOL_VERSION;
    hello.vendor = config->identity.vendor;
    hello.hardware = config->identity.hardware;
    hello.firmware = config->identity.firmware;
    hello.abi = config->model->abi;
    hello.opset = config->identity.opset;
    hello.arena_bytes = config->model->arena_bytes;
    hello.slot_bytes = config->flash.slot_bytes;
    hello.packet_bytes = config->rx_bytes;
    tml_update_active(update, &hello.model, factory);
    if (tml_update_passive(update, &hello.passive)) hello.has |= TML_HELLO_HAS_PASSIVE;
    hello.can_rollback = tml_update_can_rollback(update);
    hello.reset_reason = config->reset_reason;
    hello.resets = config->resets;
    hello.twin_version = update->journal.record.twin_version;
    hello.has |= TML_HELLO_HAS_SENSORS;
    hello.sensors_count = config->sensor_count;
    memcpy(hello.sensors, config->sensors, sizeof hello.sensors);
    if (config->trainer) {
        hello.has |= TML_HELLO_HAS_LEARNING;
        config->trainer->describe(config->trainer->context, &hello.learning);
    }
    return tml_encode(TML_MESSAGE_HELLO, &hello, to, room);
}

static __attribute__((noinline)) uint32_t put_twin(const tml_agent_t *agent, uint32_t seq,
                                                   uint8_t *to, uint32_t room) {
    uint8_t factory[TML_DIGEST_BYTES];
    tml_twin_reported_t twin;
    memset(&twin, 0, sizeof twin);
    twin.boot_id = agent->boot_id;
    twin.seq = seq;
    twin.version = agent->update.journal.record.twin_version;
    if (agent->twin_reason != TML_REASON_OK) twin.version = agent->twin_seen;
    twin.reason = agent->twin_reason;
    tml_update_active(&agent->update, &twin.model, factory);
    if (tml_update_passive(&agent->update, &twin.passive)) {
        twin.has |= TML_TWIN_REPORTED_HAS_PASSIVE;
    }
    twin.report_interval_s = agent->update.journal.record.report_interval_s;
    return tml_encode(TML_MESSAGE_TWIN_REPORTED, &twin, to, room);
}

static uint32_t put_status(tml_agent_t *agent, uint32_t seq, uint8_t *to, uint32_t room) {
    const tml_update_t *update = &agent->update;
    const tml_record_t *record = &update->journal.record;
    tml_job_status_t status = {.boot_id = agent->boot_id,
                               .seq = seq,
                               .job = update->status_job,
                               .state = update->status_state,
                               .reason = update->status_reason};
    if (update->status_job == record->job && update->status_state != TML_JOB_STATE_REJECTED) {
        const tml_slot_t *slot = &record->slots[record->target];
        status.has |= TML_JOB_STATUS_HAS_SEQUENCE | TML_JOB_STATUS_HAS_OFFSET;
        status.sequence = slot->sequence;
        status.offset = update->offset;
        if (update->latency_us) status.has |= TML_JOB_STATUS_HAS_LATENCY_US;
        status.latency_us = update->latency_us;
    }
    return tml_encode(TML_MESSAGE_JOB_STATUS, &status, to, room);
}

static __attribute__((noinline)) uint32_t put_report(const tml_agent_t *agent, uint32_t now_ms,
                                                     uint32_t seq, uint8_t *to, uint32_t room) {
    const tml_agent_config_t *config = agent->config;
    const tml_update_t *update = &agent->update;
    const tml_record_t *record = &update->journal.record;
    tml_report_t report;
    memset(&report, 0, sizeof report);
    report.boot_id = agent->boot_id;
    report.seq = seq;
    report.uptime_s = (now_ms - agent->boot_ms) / 1000u;
    if (record->active < TML_SLOTS) report.model_sequence = record->slots[record->active].sequence;
    report.inferences = agent->inferences;
    report.has |= TML_REPORT_HAS_DROPPED;
    report.dropped = agent->dropped;
    if (agent->inferences) {
        const tml_io_t *output = &config->model->outputs[0];
        const int8_t *values = (const int8_t *)config->arena + output->offset;
        report.has |= TML_REPORT_HAS_BEST | TML_REPORT_HAS_SCORE | TML_REPORT_HAS_LATENCY_US;
        report.best = agent->best;
        report.score = output->scale * (float)(values[agent->best] - output->zero_point);
        report.latency_us = agent->latency_us;
        if (output->bytes <= 256) {
            report.has |= TML_REPORT_HAS_OUTPUTS;
            report.outputs = (tml_bytes_t){config->arena + output->offset, output->bytes};
        }
    }
    if (config->stack_bytes) {
        report.has |= TML_REPORT_HAS_STACK_BYTES;
        report.stack_bytes = config->stack_bytes(config->context);
    }
    const uint32_t size = tml_encode(TML_MESSAGE_REPORT, &report, to, room);
    if (size) return size;
    /* The outputs are what may be too long. */
    report.has &= ~(uint32_t)TML_REPORT_HAS_OUTPUTS;
    return tml_encode(TML_MESSAGE_REPORT, &report, to, room);
}

/* What the next request for bytes asks: of an artefact, or of a training job. */
static bool next_request(const tml_agent_t *agent, tml_bytes_t *digest, uint32_t *offset,
                         bool *for_trainer) {
    const tml_trainer_t *trainer = agent->config->trainer;
    *for_trainer = false;
    if (tml_update_wants(&agent->update, digest, offset)) return true;
    *for_trainer = true;
    return trainer && trainer->wants(trainer->context, digest, offset);
}

static uint32_t put_request(tml_agent_t *agent, uint32_t seq, uint8_t *to, uint32_t room) {
    tml_blob_request_t request = {.boot_id = agent->boot_id,
                                  .seq = seq,
                                  .size = (uint16_t)chunk_bytes(agent->config),
                                  .count = (uint8_t)agent->config->mqtt.receive_maximum};
    bool for_trainer;
    if (!next_request(agent, &request.digest, &request.offset, &for_trainer)) return 0;
    agent->asked_to = request.offset + (uint32_t)request.size * request.count;
    agent->asked_trainer = for_trainer;
    return tml_encode(TML_MESSAGE_BLOB_REQUEST, &request, to, room);
}

static uint32_t put_call(const tml_agent_t *agent, uint32_t seq, uint8_t *to, uint32_t room) {
    tml_rpc_reply_t reply = {.boot_id = agent->boot_id,
                             .seq = seq,
                             .call = agent->calls[0],
                             .reason = agent->call_reasons[0]};
    return tml_encode(TML_MESSAGE_RPC_REPLY, &reply, to, room);
}

static __attribute__((noinline)) uint32_t put_training(const tml_agent_t *agent, uint32_t seq,
                                                       uint8_t *to, uint32_t room) {
    enum { FIELDS = 96 }; /* all others of the message */
    const tml_trainer_t *trainer = agent->config->trainer;
    tml_train_reply_t reply;
    memset(&reply, 0, sizeof reply);
    if (!trainer || room < FIELDS) return 0;
    if (!trainer->reply(trainer->context, &reply, room - FIELDS)) return 0;
    reply.boot_id = agent->boot_id;
    reply.seq = seq;
    return tml_encode(TML_MESSAGE_TRAIN_REPLY, &reply, to, room);
}

static uint32_t put_message(tml_agent_t *agent, uint32_t kind, uint32_t now_ms, uint8_t *to,
                            uint32_t room) {
    const uint32_t seq = agent->seq;
    switch (kind) {
    case PRESENCE:
        return put_presence(agent, true, to, room);
    case HELLO:
        return put_hello(agent, seq, to, room);
    case CALL:
        return put_call(agent, seq, to, room);
    case STATUS:
        return put_status(agent, seq, to, room);
    case TWIN:
        return put_twin(agent, seq, to, room);
    case BLOB:
        return put_request(agent, seq, to, room);
    case TRAIN:
        return put_training(agent, seq, to, room);
    default:
        return put_report(agent, now_ms, seq, to, room);
    }
}

/* What sending a message of a kind settles. */
static void settle(tml_agent_t *agent, uint32_t kind, uint32_t now_ms) {
    ++agent->seq;
    sent(agent, kind);
    switch (kind) {
    case STATUS:
        agent->update.has_status = false;
        break;
    case CALL:
        agent->calls[0] = agent->calls[1];
        agent->call_reasons[0] = agent->call_reasons[1];
        if (--agent->call_count) want(agent, CALL);
        break;
    case BLOB:
        agent->ask_ms = now_ms;
        break;
    case TRAIN:
        agent->config->trainer->sent(agent->config->trainer->context);
        break;
    default:
        break;
    }
}

static __attribute__((noinline)) void send_next(tml_agent_t *agent, uint32_t now_ms) {
    if (agent->update.has_status) want(agent, STATUS);
    for (uint32_t kind = 0; kind < KINDS; ++kind) {
        if (!is_wanted(agent, kind) || !tml_mqtt_is_ready(&agent->mqtt)) continue;
        tml_publish_t publish = {.topic = up_topics[kind], .qos = 1};
        uint8_t correlation[4];
        if (kind == PRESENCE) publish.retain = true;
        if (kind == REPORT) publish.expiry_s = REPORT_EXPIRY_S;
        if (kind == BLOB) {
            memcpy(correlation, &agent->seq, sizeof correlation);
            publish.expiry_s = REQUEST_EXPIRY_S;
            publish.response_topic = blob_answer;
            publish.correlation = (tml_bytes_t){correlation, sizeof correlation};
        }
        uint32_t room;
        uint8_t *to = tml_mqtt_begin(&agent->mqtt, &publish, &room);
        const uint32_t size = to ? put_message(agent, kind, now_ms, to, room) : 0;
        if (size == 0) {
            /* Nothing to say after all, or it does not fit what the broker takes. */
            if (kind != BLOB && kind != TRAIN) ++agent->dropped;
            sent(agent, kind);
            continue;
        }
        tml_mqtt_commit(&agent->mqtt, &publish, size);
        settle(agent, kind, now_ms);
    }
}

/* ---- messages from the server */

static void on_job(tml_agent_t *agent, tml_bytes_t payload, uint32_t now_ms) {
    tml_job_t job;
    if (!tml_decode(TML_MESSAGE_JOB, payload, &job)) {
        ++agent->dropped;
        return;
    }
    const tml_transport_t *transport = &agent->config->transport;
    tml_update_offer(&agent->update, &job, now_ms, transport->random(transport->context));
    agent->asked_to = 0;
    want(agent, TWIN);
}

static void on_twin(tml_agent_t *agent, tml_bytes_t payload, uint32_t now_ms) {
    (void)now_ms;
    tml_twin_desired_t twin;
    tml_record_t *record = &agent->update.journal.record;
    if (!tml_decode(TML_MESSAGE_TWIN_DESIRED, payload, &twin)) {
        ++agent->dropped;
        return;
    }
    if (twin.time_s > agent->update.time_s) agent->update.time_s = twin.time_s;
    /* Delivered again, or older than what was applied. */
    if (twin.version <= record->twin_version) return;
    record->twin_version = twin.version;
    if (twin.has & TML_TWIN_DESIRED_HAS_REPORT_INTERVAL_S) {
        record->report_interval_s = twin.report_interval_s;
    }
    agent->twin_reason = TML_REASON_OK;
    if (!tml_journal_save(&agent->update.journal)) {
        agent->twin_reason = TML_REASON_FLASH_ERROR;
        agent->twin_seen = twin.version;
    }
    want(agent, TWIN);
}

static void on_blob(tml_agent_t *agent, tml_bytes_t payload, uint32_t now_ms) {
    tml_blob_reply_t reply;
    const tml_trainer_t *trainer = agent->config->trainer;
    if (!tml_decode(TML_MESSAGE_BLOB_REPLY, payload, &reply)) {
        ++agent->dropped;
        return;
    }
    bool taken = tml_update_chunk(&agent->update, &reply, now_ms);
    if (!taken && trainer) taken = trainer->chunk(trainer->context, &reply);
    if (!taken) return;
    agent->ask_ms = now_ms;
    tml_bytes_t digest;
    uint32_t offset;
    bool for_trainer;
    /* What was asked of an artefact says nothing of the next one: a job's mask after its weights.
     */
    const bool is_next = next_request(agent, &digest, &offset, &for_trainer) &&
                         memcmp(digest.data, reply.blob.data, reply.blob.size) != 0;
    if (is_next) agent->asked_to = 0;
}

static void on_rpc(tml_agent_t *agent, tml_bytes_t payload, uint32_t now_ms) {
    (void)now_ms;
    tml_rpc_request_t request;
    if (!tml_decode(TML_MESSAGE_RPC_REQUEST, payload, &request) || agent->call_count == 2) {
        ++agent->dropped;
        return;
    }
    const tml_trainer_t *trainer = agent->config->trainer;
    tml_reason_t reason = TML_REASON_OK;
    switch (request.command) {
    case TML_RPC_COMMAND_PING:
        break;
    case TML_RPC_COMMAND_REBIRTH:
        want(agent, HELLO);
        break;
    case TML_RPC_COMMAND_REPORT:
        want(agent, REPORT);
        break;
    case TML_RPC_COMMAND_REBOOT:
        agent->must_reboot = true;
        break;
    case TML_RPC_COMMAND_FORGET_ADAPTATION:
        if (trainer) {
            trainer->forget(trainer->context);
        } else {
            reason = TML_REASON_UNSUPPORTED;
        }
        break;
    default:
        reason = TML_REASON_UNSUPPORTED;
        break;
    }
    agent->calls[agent->call_count] = request.call;
    agent->call_reasons[agent->call_count++] = (uint8_t)reason;
    want(agent, CALL);
}

static void on_train(tml_agent_t *agent, tml_bytes_t payload, uint32_t now_ms) {
    tml_train_job_t job;
    const tml_trainer_t *trainer = agent->config->trainer;
    if (!trainer || !tml_decode(TML_MESSAGE_TRAIN_JOB, payload, &job)) {
        ++agent->dropped;
        return;
    }
    trainer->offer(trainer->context, &job, now_ms);
    agent->asked_to = 0;
}

typedef void handler_t(tml_agent_t *agent, tml_bytes_t payload, uint32_t now_ms);

/* The message's payload and who handles its topic, null for an unknown one. Apart, so that the
 * message is not on the stack while it is handled. */
static __attribute__((noinline)) handler_t *look(const tml_agent_t *agent, tml_bytes_t *payload) {
    static const struct {
        tml_bytes_t topic;
        handler_t *handler;
    } table[] = {{TEXT("down/job"), on_job},
                 {TEXT("down/twin"), on_twin},
                 {TEXT("down/blob"), on_blob},
                 {TEXT("down/rpc"), on_rpc},
                 {TEXT("down/train"), on_train}};
    tml_mqtt_message_t message;
    tml_mqtt_message(&agent->mqtt, &message);
    *payload = message.payload;
    for (uint32_t i = 0; i < sizeof table / sizeof *table; ++i) {
        const tml_bytes_t topic = table[i].topic;
        const bool is_it = message.topic.size == topic.size &&
                           memcmp(message.topic.data, topic.data, topic.size) == 0;
        if (is_it) return table[i].handler;
    }
    return 0;
}

static void on_message(tml_agent_t *agent, uint32_t now_ms) {
    tml_bytes_t payload;
    handler_t *handler = look(agent, &payload);
    if (handler) {
        handler(agent, payload, now_ms);
    } else {
        ++agent->dropped;
    }
    tml_mqtt_done(&agent->mqtt);
}

/* All messages that are there, and what else the connection needs. */
static void step_connection(tml_agent_t *agent, uint32_t now_ms) {
    while (tml_mqtt_step(&agent->mqtt, now_ms)) on_message(agent, now_ms);
}

/* ---- what the device does by itself */

static __attribute__((noinline)) void infer(tml_agent_t *agent) {
    const tml_agent_config_t *config = agent->config;
    const tml_model_t *model = config->model;
    tml_update_reset(&agent->update);
    if (!config->sample(config->context, model, config->arena)) return;
    const uint32_t start_us = config->micros(config->context);
    model->run(config->arena, tml_update_weights(&agent->update));
    agent->latency_us = config->micros(config->context) - start_us;
    ++agent->inferences;
    const int8_t *values = (const int8_t *)config->arena + model->outputs[0].offset;
    uint32_t best = 0;
    for (uint32_t i = 1; i < model->outputs[0].bytes; ++i) {
        if (values[i] > values[best]) best = i;
    }
    agent->best = (uint16_t)best;
    if (config->inferred && !config->inferred(config->context, model, config->arena)) {
        tml_update_unhealthy(&agent->update);
    }
}

static void step_requests(tml_agent_t *agent, uint32_t now_ms) {
    tml_bytes_t digest;
    uint32_t offset;
    bool for_trainer;
    if (!next_request(agent, &digest, &offset, &for_trainer)) return;
    const bool is_answered = offset >= agent->asked_to || for_trainer != agent->asked_trainer;
    if (is_answered || now_ms - agent->ask_ms >= ASK_AGAIN_MS) want(agent, BLOB);
}

static void on_connected(tml_agent_t *agent) {
    want(agent, PRESENCE);
    want(agent, HELLO);
    want(agent, TWIN);
    tml_update_repeat_status(&agent->update);
    agent->asked_to = 0;
}

void tml_agent_init(tml_agent_t *agent, const tml_agent_config_t *config, uint32_t now_ms) {
    memset(agent, 0, sizeof *agent);
    agent->config = config;
    const tml_transport_t *transport = &config->transport;
    agent->boot_id = transport->random(transport->context);
    agent->boot_ms = agent->inference_ms = agent->report_ms = now_ms;
    tml_update_boot(&agent->update, &config->identity, config->model, config->arena, &config->flash,
                    now_ms);
    if (agent->update.journal.record.twin_version == 0) {
        agent->update.journal.record.report_interval_s = config->report_interval_s;
    }
    agent->will_bytes = (uint8_t)put_presence(agent, false, agent->will, sizeof agent->will);
    const tml_bytes_t will = {agent->will, agent->will_bytes};
    tml_mqtt_init(&agent->mqtt, &config->mqtt, will, transport, config->rx, config->rx_bytes,
                  config->tx, config->tx_bytes);
}

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

uint32_t tml_agent_step(tml_agent_t *agent, uint32_t now_ms) {
    const tml_agent_config_t *config = agent->config;
    const tml_trainer_t *trainer = config->trainer;
    step_connection(agent, now_ms);
    const bool online = agent->mqtt.state == TML_MQTT_CONNECTED;
    if (online && !agent->online) on_connected(agent);
    agent->online = online;

    const bool had_status = agent->update.has_status;
    /* Each state is told before the next one is entered, as long as there is someone to tell. */
    if (!online || !had_status) {
        tml_update_step(&agent->update, now_ms, config->micros, config->context);
    }
    uint32_t wait = IDLE_MS;
    const tml_record_t *record = &agent->update.journal.record;
    if (agent->update.has_status && !had_status) want(agent, TWIN);
    if (trainer && trainer->step(trainer->context, now_ms, config->micros(config->context))) {
        wait = 0;
    }
    /* The self-test has the arena to itself. */
    if (config->inference_interval_ms && !tml_update_is_busy(&agent->update)) {
        const uint32_t since = now_ms - agent->inference_ms;
        if (since >= config->inference_interval_ms) {
            infer(agent);
            agent->inference_ms = now_ms;
        }
        wait = least(wait, config->inference_interval_ms - (now_ms - agent->inference_ms));
    }
    if (record->report_interval_s) {
        const uint32_t interval_ms = least(record->report_interval_s, 4000000u) * 1000u;
        if (now_ms - agent->report_ms >= interval_ms) {
            if (is_wanted(agent, REPORT)) ++agent->dropped;
            want(agent, REPORT);
            agent->report_ms = now_ms;
        }
        wait = least(wait, interval_ms - (now_ms - agent->report_ms));
    }
    if (online) {
        step_requests(agent, now_ms);
        if (trainer) want(agent, TRAIN);
        send_next(agent, now_ms);
        /* Out it goes, rather than with the next step. */
        step_connection(agent, now_ms);
        /* Acknowledgements and chunks may have come in with it. */
        step_requests(agent, now_ms);
        const bool has_more = agent->pending || agent->update.has_status;
        if (has_more && tml_mqtt_is_ready(&agent->mqtt)) wait = 0;
        const bool is_stuck = agent->mqtt.tx_busy && agent->mqtt.tx_from < agent->mqtt.tx_to;
        if (is_stuck || agent->mqtt.control_used) wait = least(wait, STUCK_MS);
        if (agent->must_reboot && agent->call_count == 0 && !agent->mqtt.tx_busy) {
            config->reboot(config->context);
        }
    } else if (agent->mqtt.state == TML_MQTT_WAITING) {
        const int32_t left = (int32_t)(agent->mqtt.retry_ms - now_ms);
        wait = least(wait, left > 0 ? (uint32_t)left : 0);
    }
    const bool may_update = !online || !agent->update.has_status;
    return may_update && tml_update_is_busy(&agent->update) ? 0 : wait;
}

void tml_agent_stop(tml_agent_t *agent) {
    tml_mqtt_disconnect(&agent->mqtt);
}
