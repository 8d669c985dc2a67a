// Generated from schemas/asyncapi.yaml by `make schemas`; do not edit.
package padellm;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;

/** The messages as records for Jackson; members that a later version adds are passed over. */
public final class Messages {
    private Messages() {}

    public static final String DOCUMENTS_TOPIC = "documents";
    public static final String ENTITIES_TOPIC = "entities";
    public static final String DEAD_LETTERS_TOPIC = "documents.dead-letters";
    public static final String ENTITY_ROWS_TOPIC = "entity-rows";
    public static final String SHADOW_TOPIC = "entities.shadow";

    /** Units that offsets may count; Java, JavaScript and C# count UTF-16, Go and Rust bytes of UTF-8. */
    public enum OffsetUnit {
        @JsonProperty("code-points") CODE_POINTS,
        @JsonProperty("utf-16") UTF_16,
        @JsonProperty("utf-8") UTF_8,
    }

    /** Rule of de-duplication between entities that compete. `paper`: a mention text found under several labels keeps the label with the highest score (PaDeLLM-NER, section 3.3). `flat`: no two entities overlap. `nested`: entities may contain each other, one label a span. `multi`: everything is kept, but for exact repeats. */
    public enum Policy {
        @JsonProperty("paper") PAPER,
        @JsonProperty("flat") FLAT,
        @JsonProperty("nested") NESTED,
        @JsonProperty("multi") MULTI,
    }

    /** A text to find entities in. Record key: the document id. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Document(
        /** Document id. Empty or absent: the record key, or else topic/partition/offset. */
        @JsonProperty("id") String id,
        /** The text, any language, any length up to the service's limit. */
        @JsonProperty("text") String text,
        /** Entity types to look for: names, or name to definition. Absent: the model's default labels. */
        @JsonProperty("labels") JsonNode labels,
        /** Entities scored below it are removed. */
        @JsonProperty("threshold") Double threshold,
        /** De-duplication policy. */
        @JsonProperty("policy") Policy policy,
        /** Unit of the event's offsets. Absent: PADELLM_OFFSETS. */
        @JsonProperty("offsets") OffsetUnit offsets,
        /** Returned untouched in the event, white space between values apart. */
        @JsonProperty("metadata") Map<String, JsonNode> metadata
    ) {}

    /** Extent of the text that the model has read; of several text fields the sum, and the ranges of all. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Coverage(
        /** Windows the text was read in. */
        @JsonProperty("windows") long windows,
        /** Code points in the text, or units of the event's offsets. */
        @JsonProperty("characters") long characters,
        /** Character ranges no window covers. */
        @JsonProperty("unread") List<List<Long>> unread,
        /** Windows (start, end, label) whose count reached the model's limit, so that mentions may be missing. */
        @JsonProperty("capped") List<List<JsonNode>> capped
    ) {}

    /** One entity; `document.text[start:end] == text` always, in the event's unit of offsets. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Entity(
        @JsonProperty("text") String text,
        /** The label as the document named it. */
        @JsonProperty("label") String label,
        /** First code point, or unit of the event's offsets. */
        @JsonProperty("start") long start,
        /** One past the last. */
        @JsonProperty("end") long end,
        /** Probability that the entity is right, where the model is calibrated; else the product of its token probabilities, end token excluded. */
        @JsonProperty("score") double score,
        /** Probability of the count that asked for this mention. */
        @JsonProperty("count_score") double countScore,
        /** JSON Pointer of the text field that the offsets are of; absent where there is one text. */
        @JsonProperty("field") String field
    ) {}

    /** The model that decoded the entities. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record ModelInfo(
        @JsonProperty("name") String name,
        @JsonProperty("version") String version,
        /** First 16 hex digits of the SHA-256 over the prompt template. */
        @JsonProperty("template_hash") String templateHash,
        /** SHA-256 of the checkpoint, as the model server states it; absent where it does not. */
        @JsonProperty("checkpoint") String checkpoint
    ) {}

    /** A decoded mention that is not among the entities, and the reason. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Removed(
        @JsonProperty("text") String text,
        @JsonProperty("label") String label,
        @JsonProperty("score") double score,
        /** Stable code: unreadable_count, ungrounded, duplicate, other_label, overlap, below_threshold. */
        @JsonProperty("reason") String reason,
        @JsonProperty("start") Long start,
        @JsonProperty("end") Long end,
        /** JSON Pointer of the text field that the offsets are of; absent where there is one text. */
        @JsonProperty("field") String field
    ) {}

    /** Position of the document in Kafka. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Source(
        @JsonProperty("topic") String topic,
        @JsonProperty("partition") long partition,
        @JsonProperty("offset") long offset
    ) {}

    /** All entities of one document, also when there are none. Record key: the document id. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record EntityEvent(
        /** Deterministic: the same document position, model, labels and settings give the same id. */
        @JsonProperty("event_id") String eventId,
        @JsonProperty("document_id") String documentId,
        @JsonProperty("source") Source source,
        @JsonProperty("model") ModelInfo model,
        @JsonProperty("labels") List<String> labels,
        @JsonProperty("entities") List<Entity> entities,
        @JsonProperty("removed") List<Removed> removed,
        @JsonProperty("coverage") Coverage coverage,
        /** Milliseconds by stage: queue, count, mention, total. */
        @JsonProperty("timings") Map<String, Double> timings,
        @JsonProperty("metadata") Map<String, JsonNode> metadata,
        /** Unit of all offsets; absent: code points. */
        @JsonProperty("offsets") OffsetUnit offsets,
        /** Coverage of each text field, by its JSON Pointer; absent where there is one text. */
        @JsonProperty("fields") Map<String, Coverage> fields
    ) {}

    /** One entity of a document as a flat record, for tables and connectors. Record key: the document id. A document has a row for each of its entities, or one row without an entity where it has none; so a reader that has `max(1, entity_count)` rows of an `event_id` has all of the document. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record EntityRow(
        /** event_id/number: the same on every repeat, and unlike any other. */
        @JsonProperty("entity_id") String entityId,
        /** Of the document's entity event. */
        @JsonProperty("event_id") String eventId,
        @JsonProperty("document_id") String documentId,
        /** Place among the entities of the event, from 1 on; 0 in a row without an entity. */
        @JsonProperty("number") long number,
        /** Entities of the document. */
        @JsonProperty("entity_count") long entityCount,
        /** Null in a row without an entity, as all of the entity is. */
        @JsonProperty("text") String text,
        @JsonProperty("label") String label,
        /** First unit of the entity, counted as offsets says. */
        @JsonProperty("start") Long start,
        /** One past the last. */
        @JsonProperty("end") Long end,
        /** As in the event. */
        @JsonProperty("score") Double score,
        /** As in the event. */
        @JsonProperty("count_score") Double countScore,
        /** JSON Pointer of the text field; null where there is one text. */
        @JsonProperty("field") String field,
        /** Unit of start and end. */
        @JsonProperty("offsets") OffsetUnit offsets,
        /** Topic of the document. */
        @JsonProperty("source_topic") String sourceTopic,
        @JsonProperty("source_partition") long sourcePartition,
        @JsonProperty("source_offset") long sourceOffset,
        @JsonProperty("model_name") String modelName,
        @JsonProperty("model_version") String modelVersion,
        /** As in the event. */
        @JsonProperty("metadata") Map<String, JsonNode> metadata
    ) {}

    /** Entities that a second model finds otherwise in a document. Record key: the document id. There is none where both find the same. Scores are not compared. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public record ShadowDifference(
        /** Of the document's entity event. */
        @JsonProperty("event_id") String eventId,
        @JsonProperty("document_id") String documentId,
        @JsonProperty("source") Source source,
        /** The model that made the event. */
        @JsonProperty("model") ModelInfo model,
        /** The second model. */
        @JsonProperty("shadow") ModelInfo shadow,
        /** Entities of the event that the second model does not find. */
        @JsonProperty("missing") List<Entity> missing,
        /** Entities that the second model finds beside them. */
        @JsonProperty("added") List<Entity> added
    ) {}
}
