package parquet

import "time"

// The structs of this file are the schema of the files. A zero time and an empty text are NULL in optional columns,
// as they are in the database; ids of rows are 16 bytes; digests are record.Digest. JSON is the canonical text.
// SchemaVersion goes up when a column's meaning changes; readers refuse what is newer than they are.
const SchemaVersion = 1

// PageRow is a row of pages/: one API object exactly as received, or word that it is gone.
type PageRow struct {
	Seq        int64     `parquet:"seq"` // of the batch
	Kind       string    `parquet:"kind,dict"`
	SourceID   string    `parquet:"source_id"`
	Request    string    `parquet:"request"`
	APIVersion string    `parquet:"api_version,dict"`
	FetchedAt  time.Time `parquet:"fetched_at,timestamp(microsecond)"`
	Gone       string    `parquet:"gone,dict,optional"` // deleted, merged
	GoneAt     time.Time `parquet:"gone_at,timestamp(microsecond),optional"`
	MergedInto string    `parquet:"merged_into,optional"`
	Body       []byte    `parquet:"body,optional"` // raw JSON
}

// Head is common to the rows of the four tables of objects. FetchedAt and SourceUpdatedAt are the row's version.
type Head struct {
	OrgID           [16]byte  `parquet:"org_id,uuid"`
	ID              [16]byte  `parquet:"id,uuid"`
	SourceID        string    `parquet:"source_id"`
	SourceUpdatedAt time.Time `parquet:"source_updated_at,timestamp(microsecond),optional"`
	SourceCreatedAt time.Time `parquet:"source_created_at,timestamp(microsecond),optional"`
	FetchedAt       time.Time `parquet:"fetched_at,timestamp(microsecond)"`
	ContentHash     [16]byte  `parquet:"content_hash"`
}

// EndUserRow is a row of rows/table=end_users.
type EndUserRow struct {
	Head
	ExternalID      string    `parquet:"external_id,optional"`
	Name            string    `parquet:"name,optional"`
	Email           string    `parquet:"email,optional"`
	Avatar          string    `parquet:"avatar,optional"`
	Role            string    `parquet:"role,dict,optional"`
	SignedUpAt      time.Time `parquet:"signed_up_at,timestamp(microsecond),optional"`
	FirstSeen       time.Time `parquet:"first_seen,timestamp(microsecond),optional"`
	LastSeen        time.Time `parquet:"last_seen,timestamp(microsecond),optional"`
	LastContactedAt time.Time `parquet:"last_contacted_at,timestamp(microsecond),optional"`
	CustomFields    []byte    `parquet:"custom_fields,json"`
	Context         []byte    `parquet:"context,json"`
	SourceCompanies []string  `parquet:"source_company_ids,list"`
}

// CompanyRow is a row of rows/table=companies.
type CompanyRow struct {
	Head
	ExternalID    string    `parquet:"external_id,optional"`
	Name          string    `parquet:"name,optional"`
	Domain        string    `parquet:"domain,optional"`
	Industry      string    `parquet:"industry,optional"`
	Plan          string    `parquet:"plan,optional"`
	EmployeeCount int64     `parquet:"employee_count,optional"`
	SignedUpAt    time.Time `parquet:"signed_up_at,timestamp(microsecond),optional"`
	CustomFields  []byte    `parquet:"custom_fields,json"`
	Context       []byte    `parquet:"context,json"`
	LastRequestAt time.Time `parquet:"last_request_at,timestamp(microsecond),optional"`
}

// TranscriptRow is a row of rows/table=transcripts. Its knowledge is in table=knowledge of the same segment.
type TranscriptRow struct {
	Head
	SourceContactID      string    `parquet:"source_contact_id,optional"`
	SourceCompanyID      string    `parquet:"source_company_id,optional"`
	SessionID            string    `parquet:"session_id,optional"`
	Subject              string    `parquet:"subject,optional"`
	MessageCount         int64     `parquet:"message_count"`
	ExpectedMessageCount int64     `parquet:"expected_message_count"`
	Complete             bool      `parquet:"complete"`
	Status               string    `parquet:"status,dict,optional"`
	Outcome              string    `parquet:"outcome,dict,optional"`
	StartedAt            time.Time `parquet:"started_at,timestamp(microsecond),optional"`
	EndedAt              time.Time `parquet:"ended_at,timestamp(microsecond),optional"`
	Metadata             []byte    `parquet:"metadata,json"`
	KnowledgeHash        [16]byte  `parquet:"knowledge_hash"`
	KnowledgeCount       int64     `parquet:"knowledge_count"`
	Messages             []byte    `parquet:"messages,json"` // the large one, last
}

// TicketRow is a row of rows/table=tickets.
type TicketRow struct {
	Head
	SourceContactID      string    `parquet:"source_contact_id,optional"`
	SourceCompanyID      string    `parquet:"source_company_id,optional"`
	SourceConversationID string    `parquet:"source_conversation_id,optional"`
	TicketNumber         string    `parquet:"ticket_number,optional"`
	Subject              string    `parquet:"subject,optional"`
	Message              string    `parquet:"message,optional"`
	Status               string    `parquet:"status,dict,optional"`
	Priority             string    `parquet:"priority,dict,optional"`
	Category             string    `parquet:"category,dict,optional"`
	Assignee             string    `parquet:"assignee,optional"`
	ResolvedAt           time.Time `parquet:"resolved_at,timestamp(microsecond),optional"`
	Metadata             []byte    `parquet:"metadata,json"`
	Messages             []byte    `parquet:"messages,json"`
}

// KnowledgeRow is a row of rows/table=knowledge, in the order of the segment's transcripts.
type KnowledgeRow struct {
	OrgID            [16]byte  `parquet:"org_id,uuid"`
	ID               [16]byte  `parquet:"id,uuid"`
	SourceID         string    `parquet:"source_id"` // the conversation's
	SourceUpdatedAt  time.Time `parquet:"source_updated_at,timestamp(microsecond),optional"`
	Key              string    `parquet:"key"`
	Kind             string    `parquet:"kind,dict"`
	ParentID         [16]byte  `parquet:"parent_id,uuid"` // zero: none
	ChunkIndex       int64     `parquet:"chunk_index"`
	Title            string    `parquet:"title,optional"`
	Content          string    `parquet:"content"`
	SourceMessageIDs []string  `parquet:"source_message_ids,list"`
	Metadata         []byte    `parquet:"metadata,json"`
	ContentHash      [16]byte  `parquet:"content_hash"`
}

// TombstoneRow is a row of rows/table=tombstones: an object that is gone at the source.
type TombstoneRow struct {
	Place      int64     `parquet:"place"` // among the changes of its segment; rows of objects fill the other places in their order
	Kind       string    `parquet:"kind,dict"`
	SourceID   string    `parquet:"source_id"`
	UpdatedAt  time.Time `parquet:"source_updated_at,timestamp(microsecond),optional"` // of the version
	FetchedAt  time.Time `parquet:"fetched_at,timestamp(microsecond)"`
	Why        string    `parquet:"why,dict"`
	GoneAt     time.Time `parquet:"gone_at,timestamp(microsecond),optional"`
	MergedInto string    `parquet:"merged_into,optional"`
}

// RejectRow is a row of rows/table=rejects: an object that could not be mapped, as it came.
type RejectRow struct {
	Stage    string `parquet:"stage,dict"`
	Kind     string `parquet:"kind,dict"`
	SourceID string `parquet:"source_id,optional"`
	Field    string `parquet:"field,optional"`
	Reason   string `parquet:"reason"`
	Payload  []byte `parquet:"payload"`
}
