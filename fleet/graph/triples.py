# SPDX-License-Identifier: Apache-2.0
"""Facts as triples: pure functions, one a kind of fact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from pyoxigraph import Literal, NamedNode, Triple

from fleet.domain.match import match
from fleet.graph.facts import DeploymentFacts, DeviceFacts, ModelFacts, Profile, RoundFacts
from fleet.graph.vocabulary import individual, isa, operator, sensor, term

_TYPE = term("rdf:type")
# Our operators that SeLoC-ML's vocabulary has too.
_LAYER_TYPES = {
    "fully_connected": "FullyConnected",
    "dequantise": "Dequantize",
    "quantise": "Quantize",
    "logistic": "Logistic",
    "softmax": "Softmax",
    "depthwise_conv2d": "DepthwiseConv2D",
    "reshape": "Reshape",
    "max_pool": "MaxPool2D",
    "conv2d": "Conv2D",
    "average_pool": "AveragePool2D",
    "resize_nearest": "ResizeNearestNeighbor",
}
_QUANTISATIONS = {"float32": "Float32", "float16": "Float16", "int16": "Int16", "int8": "Int8"}


def profile_iri(profile: Profile) -> NamedNode:
    """Named by its content, so that equal profiles are one node."""
    parts = (
        profile.hardware,
        str(profile.flash),
        str(profile.ram),
        ",".join(sorted(profile.executes)),
        ",".join(sorted(profile.sensors)),
    )
    return individual("profile", hashlib.sha256("|".join(parts).encode()).hexdigest()[:16])


def device_iri(tenant: str, name: str) -> NamedNode:
    """A device."""
    return individual("device", tenant, name)


def model_iri(tenant: str, digest: str) -> NamedNode:
    """A release of a model, by the digest of its artefact."""
    return individual("model", tenant, digest)


def device_triples(device: DeviceFacts) -> Iterator[Triple]:
    """A device: a SmartSensor, a WoT Thing and what it runs."""
    me = device_iri(device.tenant, device.name)
    yield Triple(me, _TYPE, term("tml:Device"))
    yield Triple(me, _TYPE, term("s3n:SmartSensor"))
    yield Triple(me, _TYPE, term("td:Thing"))
    yield Triple(me, term("td:title"), Literal(device.name))
    yield Triple(me, term("tml:tenant"), Literal(device.tenant))
    yield Triple(me, term("tml:state"), Literal(device.state))
    yield Triple(me, term("tml:online"), Literal(device.online))
    if device.profile is not None:
        yield Triple(me, term("tml:profile"), profile_iri(device.profile))
        for kind in sorted(device.profile.sensors):
            part = individual("sensor", device.tenant, device.name, kind)
            yield Triple(me, term("ssn:hasSubSystem"), part)
            yield Triple(part, _TYPE, sensor(kind))
        yield Triple(me, term("ssn:hasSubSystem"), profile_iri(device.profile))
    for predicate, value in (
        ("tml:vendor", device.vendor),
        ("tml:firmwareVersion", device.firmware),
        ("tml:abi", device.abi),
    ):
        if value is not None:
            yield Triple(me, term(predicate), Literal(value))
    if device.model is not None:
        yield Triple(me, term("tml:runs"), model_iri(device.tenant, device.model))
    if device.passive is not None:
        yield Triple(me, term("tml:holds"), model_iri(device.tenant, device.passive))
    yield Triple(me, term("tml:canRollBack"), Literal(device.can_rollback))
    if device.last_seen is not None:
        yield Triple(me, term("tml:lastSeen"), _time(device.last_seen))
    for key, value in device.tags:
        tag = individual("tag", device.tenant, key, value)
        yield Triple(me, term("tml:tag"), tag)
        yield Triple(tag, term("schema:name"), Literal(key))
        yield Triple(tag, term("schema:value"), Literal(value))


def profile_triples(profile: Profile) -> Iterator[Triple]:
    """A profile: a MicroController in S3N's words, with free memory in bytes."""
    me = profile_iri(profile)
    yield Triple(me, _TYPE, term("tml:Profile"))
    yield Triple(me, _TYPE, term("s3n:MicroController"))
    yield Triple(me, term("schema:name"), Literal(profile.hardware))
    yield Triple(me, term("tml:flashBytes"), Literal(profile.flash))
    yield Triple(me, term("tml:ramBytes"), Literal(profile.ram))
    for name in sorted(profile.executes):
        yield Triple(me, term("tml:executes"), isa(name))
    for kind in sorted(profile.sensors):
        yield Triple(me, term("tml:hasSensor"), sensor(kind))


def fit_triples(profiles: Iterable[Profile], models: Sequence[ModelFacts]) -> Iterator[Triple]:
    """Verdicts of `fleet.domain.match`, for every profile and model that fit."""
    for profile in profiles:
        for model in models:
            if match(model.requirements, profile.capacity).fits:
                me = profile_iri(profile)
                yield Triple(me, term("tml:fits"), model_iri(model.tenant, model.digest))


def model_triples(model: ModelFacts) -> Iterator[Triple]:
    """A model in the words of NN schema, ML Schema, MLDCAT-AP and PROV."""
    me = model_iri(model.tenant, model.digest)
    for kind in ("tml:Model", "nnet:NeuralNetwork", "mls:Model", "it6:MachineLearningModel"):
        yield Triple(me, _TYPE, term(kind))
    yield Triple(me, term("schema:name"), Literal(model.name))
    yield Triple(me, term("schema:identifier"), Literal(model.digest))
    yield Triple(me, term("tml:tenant"), Literal(model.tenant))
    yield Triple(me, term("dct:hasVersion"), Literal(model.version))
    yield Triple(me, term("dct:created"), _time(model.created_at))
    yield Triple(me, term("dct:creator"), Literal(model.created_by))
    for predicate, text in (
        ("dct:description", model.description),
        ("tml:task", model.task),
        ("nnet:trainingDataset", model.training_data),
        ("dct:license", model.licence),
        ("tml:calibrationData", model.calibration_data),
    ):
        if text is not None:
            yield Triple(me, term(predicate), Literal(text))
    for name, number in (
        ("tml:sequence", model.sequence),
        ("tml:flashBytes", model.flash),
        ("tml:ramBytes", model.ram),
        ("tml:parameters", model.parameters),
        ("nnet:hasMultiplyAccumulateOps", model.macs),
        ("tml:instructions", model.instructions),
    ):
        if number is not None:
            yield Triple(me, term(name), Literal(number))
    yield Triple(me, term("tml:isa"), isa(model.isa))
    yield Triple(me, term("tml:abi"), Literal(model.abi))
    yield Triple(me, term("tml:target"), Literal(model.target))
    yield Triple(me, term("nnet:hasQuantization"), _quantisation(model.quantisation))
    for kind in sorted(model.sensors):
        yield Triple(me, term("tml:needsSensor"), sensor(kind))
    for name in sorted({layer.operator for layer in model.layers}):
        yield Triple(me, term("tml:needsOperator"), operator(name))
    yield from _checksum(me, model.digest)
    if model.accuracy is not None:
        metric, percent, data = model.accuracy
        score = individual("evaluation", model.tenant, model.digest, metric)
        yield Triple(me, term("nnet:hasMetric"), score)
        yield Triple(score, _TYPE, term("mls:ModelEvaluation"))
        yield Triple(score, _TYPE, term(f"nnet:{metric}"))
        yield Triple(score, term("nnet:hasMetricValue"), Literal(percent))
        yield Triple(score, term("dct:source"), Literal(data))
        yield Triple(me, term("tml:accuracyPercent"), Literal(percent))
    for identifier, summary in model.advisories:
        advisory = individual("advisory", model.tenant, identifier)
        yield Triple(advisory, _TYPE, term("tml:Advisory"))
        yield Triple(advisory, term("schema:identifier"), Literal(identifier))
        yield Triple(advisory, term("dct:description"), Literal(summary))
        yield Triple(advisory, term("tml:affects"), me)
    yield from _layers(me, model)
    yield from _lineage(me, model)


def _layers(me: NamedNode, model: ModelFacts) -> Iterator[Triple]:
    last = len(model.layers) - 1
    for index, layer in enumerate(model.layers):
        place = "inputLayer" if index == 0 else "outputLayer" if index == last else "middleLayer"
        node = individual("layer", model.tenant, model.digest, str(index))
        yield Triple(me, term(f"nnet:{place}"), node)
        yield Triple(node, _TYPE, term("nnet:Layer"))
        yield Triple(node, term("nnet:hasIndex"), Literal(index))
        yield Triple(node, term("schema:name"), Literal(layer.name))
        yield Triple(node, term("nnet:hasType"), operator(layer.operator))
        if layer.operator in _LAYER_TYPES:
            known = term(f"nnet:{_LAYER_TYPES[layer.operator]}")
            yield Triple(node, term("nnet:hasType"), known)
        yield Triple(node, term("nnet:hasQuantization"), _quantisation(layer.dtype))
        yield Triple(node, term("nnet:hasMultiplyAccumulateOps"), Literal(layer.macs))
        shape = "x".join(str(n) for n in layer.shape)
        yield Triple(node, term("tml:outputShape"), Literal(shape))


def _lineage(me: NamedNode, model: ModelFacts) -> Iterator[Triple]:
    run = individual("compilation", model.tenant, model.digest)
    yield Triple(me, _TYPE, term("prov:Entity"))
    yield Triple(me, term("prov:wasGeneratedBy"), run)
    yield Triple(run, _TYPE, term("prov:Activity"))
    yield Triple(run, _TYPE, term("mls:Run"))
    yield Triple(run, term("prov:endedAtTime"), _time(model.created_at))
    if model.compiler is not None:
        yield Triple(run, term("mls:executes"), Literal(f"tinyml {model.compiler}"))
    if model.derived_from is not None:
        origin = model_iri(model.tenant, model.derived_from)
        yield Triple(me, term("prov:wasDerivedFrom"), origin)


def deployment_iri(deployment: DeploymentFacts) -> NamedNode:
    """A device's part in a rollout."""
    return individual("deployment", deployment.tenant, str(deployment.rollout), deployment.device)


def deployment_triples(deployment: DeploymentFacts) -> Iterator[Triple]:
    """An assignment as a PROV activity that used a model and a device."""
    d = deployment
    me = deployment_iri(d)
    yield Triple(me, _TYPE, term("tml:Deployment"))
    yield Triple(me, _TYPE, term("prov:Activity"))
    yield Triple(me, term("tml:rollout"), Literal(d.rollout))
    yield Triple(me, term("tml:wave"), Literal(d.wave))
    yield Triple(me, term("tml:action"), Literal(d.action))
    yield Triple(me, term("tml:state"), Literal(d.state))
    yield Triple(me, term("tml:reason"), Literal(d.reason))
    yield Triple(me, term("tml:onDevice"), device_iri(d.tenant, d.device))
    yield Triple(me, term("prov:used"), model_iri(d.tenant, d.digest))
    yield Triple(me, term("prov:endedAtTime"), _time(d.updated_at))
    if d.previous is not None:
        yield Triple(me, term("tml:replaced"), model_iri(d.tenant, d.previous))


def round_iri(facts: RoundFacts) -> NamedNode:
    """A federated round."""
    return individual("round", facts.tenant, facts.run, str(facts.number))


def round_triples(facts: RoundFacts) -> Iterator[Triple]:
    """A federated round: which devices turned which weights into which."""
    me = round_iri(facts)
    before = individual("weights", facts.tenant, facts.digest_in)
    after = individual("weights", facts.tenant, facts.digest_out)
    yield Triple(me, _TYPE, term("tml:FederatedRound"))
    yield Triple(me, _TYPE, term("prov:Activity"))
    yield Triple(me, term("tml:run"), Literal(facts.run))
    yield Triple(me, term("tml:number"), Literal(facts.number))
    yield Triple(me, term("tml:strategy"), Literal(facts.strategy))
    yield Triple(me, term("prov:used"), before)
    yield Triple(after, term("prov:wasGeneratedBy"), me)
    yield Triple(after, term("prov:wasDerivedFrom"), before)
    yield Triple(me, term("prov:startedAtTime"), _time(facts.started_at))
    yield Triple(me, term("prov:endedAtTime"), _time(facts.ended_at))
    for device in facts.devices:
        yield Triple(me, term("prov:wasAssociatedWith"), device_iri(facts.tenant, device))
    for name, value in facts.metrics:
        metric = individual("metric", facts.tenant, facts.run, str(facts.number), name)
        yield Triple(me, term("nnet:hasMetric"), metric)
        yield Triple(metric, term("schema:name"), Literal(name))
        yield Triple(metric, term("nnet:hasMetricValue"), Literal(value))


def _checksum(me: NamedNode, digest: str) -> Iterator[Triple]:
    node = individual("checksum", digest)
    yield Triple(me, term("spdx:checksum"), node)
    yield Triple(node, _TYPE, term("spdx:Checksum"))
    yield Triple(node, term("spdx:algorithm"), term("spdx:checksumAlgorithm_sha256"))
    yield Triple(node, term("spdx:checksumValue"), Literal(digest))


def _quantisation(dtype: str) -> NamedNode:
    return term(
        f"nnet:{_QUANTISATIONS[dtype]}" if dtype in _QUANTISATIONS else f"tml:dtype-{dtype}"
    )


def _time(seconds: float) -> Literal:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return Literal(text.replace("+00:00", "Z"), datatype=term("xsd:dateTime"))
