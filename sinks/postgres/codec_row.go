package postgres

import (
	"time"

	"haloingest/pipeline/record"
)

// The columns that this program writes, in the order of the encoders below. Columns of Halo's own that are not named here
// (renewals, health, whatever it adds) are never touched.
var (
	endUserColumns = []string{"org_id", "id", "external_id", "source", "company_id", "name", "email", "avatar", "role", "signed_up_at",
		"first_seen", "last_seen", "last_contacted_at", "custom_fields", "context",
		"source_id", "source_updated_at", "content_hash", "run_id", "created_at", "updated_at", "deleted_at"}
	companyColumns = []string{"org_id", "id", "external_id", "source", "name", "domain", "industry", "plan", "employee_count", "signed_up_at",
		"custom_fields", "context",
		"source_id", "source_updated_at", "content_hash", "run_id", "created_at", "updated_at", "deleted_at"}
	transcriptColumns = []string{"org_id", "id", "end_user_id", "company_id", "session_id", "subject", "messages", "message_count",
		"expected_message_count", "complete", "status", "outcome", "started_at", "ended_at", "metadata",
		"source_id", "source_contact_id", "source_company_id", "source_updated_at", "content_hash", "knowledge_hash",
		"run_id", "created_at", "updated_at", "deleted_at"}
	ticketColumns = []string{"org_id", "id", "end_user_id", "company_id", "transcript_id", "ticket_number", "subject", "message", "status",
		"priority", "category", "assignee", "messages", "resolved_at", "metadata",
		"source_id", "source_contact_id", "source_company_id", "source_updated_at", "content_hash",
		"run_id", "created_at", "updated_at", "deleted_at"}
	// created_at and updated_at are left to their defaults.
	knowledgeColumns = []string{"org_id", "id", "key", "kind", "parent_id", "chunk_index", "title", "content", "end_user_id", "company_id",
		"transcript_id", "source_message_ids", "metadata", "source_id", "source_updated_at", "content_hash", "run_id"}
)

// sourceName is what Halo calls rows that this program made or fills (halo.md, promises 7 and 8).
const sourceName = "intercom"

// stamp is what a row gets beside its values.
type stamp struct {
	run     record.UUID
	created time.Time
	updated time.Time
	deleted time.Time // zero: the object is there
}

// linkage is what a row refers to, as far as it is known.
type linkage struct{ endUser, company, transcript record.UUID }

func encodeEndUser(c *copyBuffer, id, company record.UUID, externalID string, r *record.EndUserRow, s stamp) {
	c.row()
	c.uuid(r.Org)
	c.uuid(id)
	c.nullText(externalID)
	c.text(sourceName)
	c.nullUUID(company)
	c.nullText(r.Name)
	c.nullText(r.Email)
	c.nullText(r.Avatar)
	c.nullText(r.Role)
	c.time(r.SignedUpAt)
	c.time(r.FirstSeen)
	c.time(r.LastSeen)
	c.time(r.LastContactedAt)
	c.jsonb(r.CustomFields, "{}")
	c.jsonb(r.Context, "{}")
	encodeTail(c, &r.Head, s)
}

func encodeCompany(c *copyBuffer, id record.UUID, externalID string, r *record.CompanyRow, s stamp) {
	c.row()
	c.uuid(r.Org)
	c.uuid(id)
	c.nullText(externalID)
	c.text(sourceName)
	c.nullText(r.Name)
	c.nullText(r.Domain)
	c.nullText(r.Industry)
	c.nullText(r.Plan)
	c.nullInt4(r.EmployeeCount)
	c.time(r.SignedUpAt)
	c.jsonb(r.CustomFields, "{}")
	c.jsonb(r.Context, "{}")
	encodeTail(c, &r.Head, s)
}

// encodeTail writes the columns that end the rows of end_users and companies.
func encodeTail(c *copyBuffer, h *record.Head, s stamp) {
	c.nullText(h.SourceID)
	c.time(h.SourceUpdatedAt)
	c.digest(h.Hash)
	c.uuid(s.run)
	c.time(s.created)
	c.time(s.updated)
	c.time(s.deleted)
}

func encodeTranscript(c *copyBuffer, r *record.TranscriptRow, l linkage, s stamp) {
	c.row()
	c.uuid(r.Org)
	c.uuid(r.ID)
	c.nullUUID(l.endUser)
	c.nullUUID(l.company)
	c.nullText(r.SessionID)
	c.nullText(r.Subject)
	c.jsonb(r.MessagesJSON, "[]")
	c.int4(r.MessageCount)
	c.int4(r.ExpectedMessageCount)
	c.bool(r.Complete)
	c.nullText(r.Status)
	c.nullText(r.Outcome)
	c.time(r.StartedAt)
	c.time(r.EndedAt)
	c.jsonb(r.Metadata, "{}")
	c.nullText(r.SourceID)
	c.nullText(r.ContactID)
	c.nullText(r.CompanyID)
	c.time(r.SourceUpdatedAt)
	c.digest(r.Hash)
	c.digest(r.KnowledgeHash)
	c.uuid(s.run)
	c.time(s.created)
	c.time(s.updated)
	c.time(s.deleted)
}

func encodeTicket(c *copyBuffer, r *record.TicketRow, l linkage, s stamp) {
	c.row()
	c.uuid(r.Org)
	c.uuid(r.ID)
	c.nullUUID(l.endUser)
	c.nullUUID(l.company)
	c.nullUUID(l.transcript)
	c.nullText(r.Number)
	c.nullText(r.Subject)
	c.nullText(r.Message)
	c.nullText(r.Status)
	c.nullText(r.Priority)
	c.nullText(r.Category)
	c.nullText(r.Assignee)
	c.jsonb(r.MessagesJSON, "[]")
	c.time(r.ResolvedAt)
	c.jsonb(r.Metadata, "{}")
	c.nullText(r.SourceID)
	c.nullText(r.ContactID)
	c.nullText(r.CompanyID)
	c.time(r.SourceUpdatedAt)
	c.digest(r.Hash)
	c.uuid(s.run)
	c.time(s.created)
	c.time(s.updated)
	c.time(s.deleted)
}

func encodeKnowledge(c *copyBuffer, r *record.KnowledgeRow, transcript record.UUID, l linkage, run record.UUID) {
	c.row()
	c.uuid(r.Org)
	c.uuid(r.ID)
	c.text(r.Key)
	c.text(r.Kind)
	c.nullUUID(r.ParentID)
	c.int4(r.ChunkIndex)
	c.nullText(r.Title)
	c.text(r.Content)
	c.nullUUID(l.endUser)
	c.nullUUID(l.company)
	c.uuid(transcript)
	c.texts(r.SourceMessageIDs)
	c.jsonb(r.Metadata, "{}")
	c.nullText(r.SourceID)
	c.time(r.SourceUpdatedAt)
	c.digest(r.Hash)
	c.uuid(run)
}
