package record

import (
	"encoding/json"
	"time"
)

// The types of this file are rows of Halo's tables (contract, "Tables"; limits from Halo's API
// pages). Columns that only the database knows (run_id, created_at, updated_at, deleted_at) and
// links (see Change) are not here. Hash covers every exported value except those marked "not hashed";
// the Seal functions compute it.

// Head is common to all rows.
type Head struct {
	Org             UUID   // not hashed: the row's key
	ID              UUID   // derived from org, kind and source id; the sink may bind the object to another row; not hashed
	SourceID        string // Intercom's id
	SourceUpdatedAt time.Time
	SourceCreatedAt time.Time // becomes created_at of a new row; not hashed
	Hash            Digest    // content_hash
}

// EndUserRow is a row of end_users.
type EndUserRow struct {
	Head
	ExternalID string
	EmailKey   string // not stored, not hashed: Email as it is compared
	Name       string
	Email      string
	Avatar     string
	Role       string
	SignedUpAt time.Time
	// Activity stamps are written when a row is made and never again (halo.md, promise 26); not hashed.
	FirstSeen, LastSeen, LastContactedAt time.Time
	CustomFields                         json.RawMessage // object
	Context                              json.RawMessage // object of {label, type, value}
	Companies                            []string        // Intercom company ids, sorted
}

// CompanyRow is a row of companies.
type CompanyRow struct {
	Head
	ExternalID    string
	Name          string
	Domain        string
	Industry      string
	Plan          string
	EmployeeCount int // 0 is NULL
	SignedUpAt    time.Time
	CustomFields  json.RawMessage
	Context       json.RawMessage
	LastRequestAt time.Time // decides which of a contact's companies counts; kept in ingest.id_map
}

// TranscriptRow is a row of transcripts.
type TranscriptRow struct {
	Head
	ContactID            string // Intercom id of the customer, "" if none; also in Metadata
	CompanyID            string // Intercom id of the company named by the conversation itself
	SessionID            string
	Subject              string
	Messages             []Message
	MessagesJSON         json.RawMessage // what is stored: array, oldest first
	MessageCount         int
	ExpectedMessageCount int
	Complete             bool
	Status               string // active, completed
	Outcome              string // resolved, escalated, abandoned or ""
	StartedAt, EndedAt   time.Time
	Metadata             json.RawMessage
	// KnowledgeHash is over all of the transcript's knowledge rows (see the function of that name), so that a new distiller is seen
	// where the transcript itself did not change. Not part of Hash.
	KnowledgeHash Digest
	// Distill is what the distiller needs beside the messages; not stored, not hashed.
	Distill DistillInput
}

// DistillInput is what the distiller may know of a conversation apart from its messages.
type DistillInput struct {
	CustomerName  string
	CustomerEmail string
	CompanyName   string
	State         string
	RatingScore   int // 0 if not rated
	Tags          []string
}

// TicketRow is a row of tickets.
type TicketRow struct {
	Head
	ContactID      string
	CompanyID      string
	ConversationID string // Intercom id of the conversation that this ticket also is, or ""
	Number         string
	Subject        string
	Message        string
	Status         string // open, priority, in_progress, snoozed, resolved, ai_resolved, spam
	Priority       string // priority, normal
	Category       string
	Assignee       string
	MessagesJSON   json.RawMessage
	ResolvedAt     time.Time // of one that no part resolved: its last change
	Metadata       json.RawMessage
}

// Kinds of knowledge. A parent and its children are the raw layer, the others the distilled one.
const (
	KnowledgeParent     = "parent"
	KnowledgeChild      = "child"
	KnowledgeSummary    = "summary"
	KnowledgeProblem    = "problem"
	KnowledgeResolution = "resolution"
	KnowledgeQA         = "qa"
	KnowledgeFact       = "fact"
	KnowledgeOpenIssue  = "open_issue"
)

// KnowledgeRow is a row of knowledge. Its scope (end user, company) is its transcript's.
type KnowledgeRow struct {
	Org              UUID
	ID               UUID // derived from org, key, kind and chunk index
	Key              string
	Kind             string
	ParentID         UUID // zero if none
	ChunkIndex       int
	Title            string
	Content          string
	SourceMessageIDs []string
	Metadata         json.RawMessage
	SourceID         string // the conversation's Intercom id
	SourceUpdatedAt  time.Time
	Hash             Digest
}
