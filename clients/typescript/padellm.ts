// Generated from schemas/asyncapi.yaml by `make schemas`; do not edit.

/** Default names of the topics. */
export const topics = {
  documents: "documents",
  entities: "entities",
  deadLetters: "documents.dead-letters",
  entityRows: "entity-rows",
  shadow: "entities.shadow",
} as const;

export type JsonValue =
  | null | boolean | number | string | JsonValue[]
  | { [name: string]: JsonValue };

/** Units that offsets may count; Java, JavaScript and C# count UTF-16, Go and Rust bytes of UTF-8. */
export type OffsetUnit = "code-points" | "utf-16" | "utf-8";

/** Rule of de-duplication between entities that compete. `paper`: a mention text found under several labels keeps the label with the highest score (PaDeLLM-NER, section 3.3). `flat`: no two entities overlap. `nested`: entities may contain each other, one label a span. `multi`: everything is kept, but for exact repeats. */
export type Policy = "paper" | "flat" | "nested" | "multi";

/** A text to find entities in. Record key: the document id. */
export interface Document {
  /** Document id. Empty or absent: the record key, or else topic/partition/offset. */
  id?: string;
  /** The text, any language, any length up to the service's limit. */
  text: string;
  /** Entity types to look for: names, or name to definition. Absent: the model's default labels. */
  labels?: string[] | Record<string, string> | null;
  /** Entities scored below it are removed. */
  threshold?: number | null;
  /** De-duplication policy. */
  policy?: Policy | null;
  /** Unit of the event's offsets. Absent: PADELLM_OFFSETS. */
  offsets?: OffsetUnit | null;
  /** Returned untouched in the event, white space between values apart. */
  metadata?: Record<string, JsonValue>;
}

/** Extent of the text that the model has read; of several text fields the sum, and the ranges of all. */
export interface Coverage {
  /** Windows the text was read in. */
  windows: number;
  /** Code points in the text, or units of the event's offsets. */
  characters: number;
  /** Character ranges no window covers. */
  unread?: [number, number][];
  /** Windows (start, end, label) whose count reached the model's limit, so that mentions may be missing. */
  capped?: [number, number, string][];
}

/** One entity; `document.text[start:end] == text` always, in the event's unit of offsets. */
export interface Entity {
  text: string;
  /** The label as the document named it. */
  label: string;
  /** First code point, or unit of the event's offsets. */
  start: number;
  /** One past the last. */
  end: number;
  /** Probability that the entity is right, where the model is calibrated; else the product of its token probabilities, end token excluded. */
  score: number;
  /** Probability of the count that asked for this mention. */
  count_score: number;
  /** JSON Pointer of the text field that the offsets are of; absent where there is one text. */
  field?: string | null;
}

/** The model that decoded the entities. */
export interface ModelInfo {
  name: string;
  version: string;
  /** First 16 hex digits of the SHA-256 over the prompt template. */
  template_hash: string;
  /** SHA-256 of the checkpoint, as the model server states it; absent where it does not. */
  checkpoint?: string | null;
}

/** A decoded mention that is not among the entities, and the reason. */
export interface Removed {
  text: string;
  label: string;
  score: number;
  /** Stable code: unreadable_count, ungrounded, duplicate, other_label, overlap, below_threshold. */
  reason: string;
  start?: number | null;
  end?: number | null;
  /** JSON Pointer of the text field that the offsets are of; absent where there is one text. */
  field?: string | null;
}

/** Position of the document in Kafka. */
export interface Source {
  topic: string;
  partition: number;
  offset: number;
}

/** All entities of one document, also when there are none. Record key: the document id. */
export interface EntityEvent {
  /** Deterministic: the same document position, model, labels and settings give the same id. */
  event_id: string;
  document_id: string;
  source: Source;
  model: ModelInfo;
  labels: string[];
  entities: Entity[];
  removed: Removed[];
  coverage: Coverage;
  /** Milliseconds by stage: queue, count, mention, total. */
  timings: Record<string, number>;
  metadata?: Record<string, JsonValue>;
  /** Unit of all offsets; absent: code points. */
  offsets?: OffsetUnit | null;
  /** Coverage of each text field, by its JSON Pointer; absent where there is one text. */
  fields?: Record<string, Coverage> | null;
}

/** One entity of a document as a flat record, for tables and connectors. Record key: the document id. A document has a row for each of its entities, or one row without an entity where it has none; so a reader that has `max(1, entity_count)` rows of an `event_id` has all of the document. */
export interface EntityRow {
  /** event_id/number: the same on every repeat, and unlike any other. */
  entity_id: string;
  /** Of the document's entity event. */
  event_id: string;
  document_id: string;
  /** Place among the entities of the event, from 1 on; 0 in a row without an entity. */
  number: number;
  /** Entities of the document. */
  entity_count: number;
  /** Null in a row without an entity, as all of the entity is. */
  text: string | null;
  label: string | null;
  /** First unit of the entity, counted as offsets says. */
  start: number | null;
  /** One past the last. */
  end: number | null;
  /** As in the event. */
  score: number | null;
  /** As in the event. */
  count_score: number | null;
  /** JSON Pointer of the text field; null where there is one text. */
  field: string | null;
  /** Unit of start and end. */
  offsets: OffsetUnit;
  /** Topic of the document. */
  source_topic: string;
  source_partition: number;
  source_offset: number;
  model_name: string;
  model_version: string;
  /** As in the event. */
  metadata?: Record<string, JsonValue>;
}

/** Entities that a second model finds otherwise in a document. Record key: the document id. There is none where both find the same. Scores are not compared. */
export interface ShadowDifference {
  /** Of the document's entity event. */
  event_id: string;
  document_id: string;
  source: Source;
  /** The model that made the event. */
  model: ModelInfo;
  /** The second model. */
  shadow: ModelInfo;
  /** Entities of the event that the second model does not find. */
  missing: Entity[];
  /** Entities that the second model finds beside them. */
  added: Entity[];
}
