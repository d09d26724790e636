package record

import (
	"encoding/json"
	"time"
)

// The types of this file are Intercom's objects after extraction: text cleaned so that PostgreSQL
// takes it, ids as strings, times as time.Time, unknown fields gone (the raw object keeps them).
// Shapes and oddities: fact sheet, section 6.

// Contact is a user or lead.
type Contact struct {
	ID           string
	ExternalID   string // the customer's own id; called user_id before API 2.0
	WorkspaceID  string
	Role         string // "user" or "lead"; an unknown role is kept as it is
	Email        string // as sent; see EmailKey for comparing
	Name         string
	Phone        string
	Avatar       string // image URL
	OwnerID      string // admin id, "" for nobody
	Language     string
	Country      string
	Region       string
	City         string
	Unsubscribed bool
	Bounced      bool                       // has_hard_bounced
	Spam         bool                       // marked_email_as_spam
	Companies    []Ref                      // all of them: the list is completed before extraction when Intercom cut it
	CompanyTotal int                        // as Intercom counts them
	Tags         []Named                    // names are filled from the reference data where known
	Custom       map[string]json.RawMessage // custom_attributes, each value canonical

	CreatedAt, UpdatedAt, SignedUpAt, LastSeenAt, LastRepliedAt, LastContactedAt time.Time
}

// Company is a company of the workspace.
type Company struct {
	ID           string // Intercom's
	CompanyID    string // the customer's own
	Name         string
	Plan         string // plan.name, "" if none
	Size         int    // employees; 0 if unknown
	Website      string
	Industry     string
	MonthlySpend json.RawMessage // canonical number, nil if absent
	SessionCount int
	UserCount    int
	Tags         []Named
	Segments     []Named
	Custom       map[string]json.RawMessage

	CreatedAt, UpdatedAt, SignedUpAt, LastRequestAt time.Time // SignedUpAt is remote_created_at
}

// Conversation is a conversation with its parts.
type Conversation struct {
	ID            string
	Title         string
	Subject       string // plain text of source.subject, else of title
	State         string // open, closed, snoozed; others are kept
	Priority      string
	Channel       string // channel.initial, else source.type
	DeliveredAs   string
	SourceURL     string
	AdminAssignee string // admin id, "" for nobody
	TeamAssignee  string
	Contacts      []Ref  // first is the customer
	Company       string // company id, "" if Intercom names none (it does from API 2.15)
	CompanyName   string
	Tags          []Named
	Rating        *Rating
	AIAgent       *AIAgent
	TicketID      string // internal id of the ticket that this conversation also is, or ""
	LinkedTickets []string
	LinkedOthers  []LinkedObject // linked_objects that are no tickets: merged and related conversations
	Custom        map[string]json.RawMessage
	Messages      []Message // the opening message first, then the parts, oldest first
	ExpectedParts int       // statistics.count_conversation_parts; parts held where absent
	HeldParts     int       // different parts in the object, opening message not counted
	Truncated     bool      // as many parts as Intercom gives at most, and no count says that these are all
	FirstContact  time.Time // statistics.first_contact_reply_at, zero if unknown
	LastClosedAt  time.Time

	CreatedAt, UpdatedAt, WaitingSince, SnoozedUntil time.Time
}

// Rating is a customer's rating of a conversation.
type Rating struct {
	Score     int // 1 to 5
	Remark    string
	AdminID   string
	CreatedAt time.Time
}

// AIAgent says what Intercom's own AI agent did in a conversation.
type AIAgent struct {
	Source          string // source_type
	Title           string // source_title
	LastAnswer      string // last_answer_type
	ResolutionState string // see fact sheet, section 1: names changed in 2.15
	Rating          int
	Remark          string
}

// Ticket is a ticket with its parts.
type Ticket struct {
	ID            string // internal; for a Customer ticket also the id of its conversation
	Number        string // ticket_id, the number people see
	Category      string // Customer, Back-office, Tracker
	TypeID        string
	TypeName      string
	StateID       string
	StateCategory string                     // submitted, in_progress, waiting_on_customer, resolved; others are kept
	StateLabel    string                     // internal label
	Title         string                     // _default_title_
	Description   string                     // _default_description_, plain text
	Attributes    map[string]json.RawMessage // without the two above
	Contacts      []Ref
	AdminAssignee string
	TeamAssignee  string
	Company       string
	Priority      string
	Open          bool
	Shared        bool
	Linked        []LinkedObject
	Messages      []Message
	ExpectedParts int
	HeldParts     int
	Truncated     bool      // see Conversation
	ResolvedAt    time.Time // when the last part moved it to resolved; zero if not resolved or no part says

	CreatedAt, UpdatedAt, SnoozedUntil time.Time
}

// LinkedObject is an entry of linked_objects.
type LinkedObject struct {
	Type     string `json:"type"` // conversation, ticket
	ID       string `json:"id"`
	Category string `json:"category,omitempty"`
}

// Speakers of a Message.
const (
	SpeakerUser   = "user"
	SpeakerAgent  = "agent"
	SpeakerBot    = "bot"
	SpeakerSystem = "system" // parts that say nothing: assignments, snoozes, tags, ...
)

// Kinds of a Message that the program treats apart. Any other kind is Intercom's part_type as sent.
const (
	MessageSource = "source" // the opening message, which Intercom keeps apart from the parts
	MessageNote   = "note"   // note, note_and_reopen, note_and_unsnooze: internal, never knowledge
)

// Message is the opening message or one part. A redacted one has no Text, HTML or Attachments.
type Message struct {
	ID          string
	Speaker     string
	Kind        string
	Text        string // plain text
	HTML        string // as sent, cleaned of what PostgreSQL refuses
	At          time.Time
	AuthorID    string
	AuthorName  string
	AuthorEmail string // not stored; used to know a contact by
	Redacted    bool
	Chosen      bool `json:",omitempty"` // by a user: picks one of the answers that a bot or agent offered. Not stored
	Attachments []Attachment
}

// Attachment names a file of a message. URL has no query: Intercom's are signed and expire.
type Attachment struct {
	Name        string
	ContentType string
	URL         string
	Size        int64 // bytes, 0 if unknown
	Width       int
	Height      int
}
