package snapshot

import (
	"github.com/parquet-go/parquet-go"

	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// The tables of a segment, as the rows of record that they were made of. Every column of sinks/parquet/row.go is here.

func headFields[T any](head func(*T) *record.Head, fetched func(*T, int64)) []field[T] {
	return []field[T]{
		{"org_id", func(r *T, v *parquet.Value, _ *arena) { head(r).Org = uuid(v) }},
		{"id", func(r *T, v *parquet.Value, _ *arena) { head(r).ID = uuid(v) }},
		{"source_id", func(r *T, v *parquet.Value, a *arena) { head(r).SourceID = a.text(v) }},
		{"source_updated_at", func(r *T, v *parquet.Value, _ *arena) { head(r).SourceUpdatedAt = instant(v) }},
		{"source_created_at", func(r *T, v *parquet.Value, _ *arena) { head(r).SourceCreatedAt = instant(v) }},
		{"fetched_at", func(r *T, v *parquet.Value, _ *arena) { fetched(r, v.Int64()) }},
		{"content_hash", func(r *T, v *parquet.Value, _ *arena) { head(r).Hash = digest(v) }},
	}
}

// fetched is a row with the moment at which its state was read, in microseconds since 1970.
type fetched[T any] struct {
	row T
	at  int64
}

func (f *fetched[T]) setAt(at int64) { f.at = at }

var endUsers = newLayout(parquet.SchemaOf(new(file.EndUserRow)), append(
	headFields(func(r *fetched[record.EndUserRow]) *record.Head { return &r.row.Head }, (*fetched[record.EndUserRow]).setAt),
	[]field[fetched[record.EndUserRow]]{
		{"external_id", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) { r.row.ExternalID = a.text(v) }},
		{"name", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) { r.row.Name = a.text(v) }},
		{"email", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) {
			r.row.Email = a.text(v)
			r.row.EmailKey = record.EmailClaim(r.row.Email)
		}},
		{"avatar", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) { r.row.Avatar = a.text(v) }},
		{"role", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) { r.row.Role = a.text(v) }},
		{"signed_up_at", func(r *fetched[record.EndUserRow], v *parquet.Value, _ *arena) { r.row.SignedUpAt = instant(v) }},
		{"first_seen", func(r *fetched[record.EndUserRow], v *parquet.Value, _ *arena) { r.row.FirstSeen = instant(v) }},
		{"last_seen", func(r *fetched[record.EndUserRow], v *parquet.Value, _ *arena) { r.row.LastSeen = instant(v) }},
		{"last_contacted_at", func(r *fetched[record.EndUserRow], v *parquet.Value, _ *arena) { r.row.LastContactedAt = instant(v) }},
		{"custom_fields", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) { r.row.CustomFields = a.raw(v) }},
		{"context", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) { r.row.Context = a.raw(v) }},
		{"source_company_ids", func(r *fetched[record.EndUserRow], v *parquet.Value, a *arena) {
			r.row.Companies = a.push(r.row.Companies, a.text(v))
		}},
	}...)...)

var companies = newLayout(parquet.SchemaOf(new(file.CompanyRow)), append(
	headFields(func(r *fetched[record.CompanyRow]) *record.Head { return &r.row.Head }, (*fetched[record.CompanyRow]).setAt),
	[]field[fetched[record.CompanyRow]]{
		{"external_id", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.ExternalID = a.text(v) }},
		{"name", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.Name = a.text(v) }},
		{"domain", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.Domain = a.text(v) }},
		{"industry", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.Industry = a.text(v) }},
		{"plan", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.Plan = a.text(v) }},
		{"employee_count", func(r *fetched[record.CompanyRow], v *parquet.Value, _ *arena) { r.row.EmployeeCount = int(v.Int64()) }},
		{"signed_up_at", func(r *fetched[record.CompanyRow], v *parquet.Value, _ *arena) { r.row.SignedUpAt = instant(v) }},
		{"custom_fields", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.CustomFields = a.raw(v) }},
		{"context", func(r *fetched[record.CompanyRow], v *parquet.Value, a *arena) { r.row.Context = a.raw(v) }},
		{"last_request_at", func(r *fetched[record.CompanyRow], v *parquet.Value, _ *arena) { r.row.LastRequestAt = instant(v) }},
	}...)...)

// transcript is a row with what is only in the file.
type transcript struct {
	fetched[record.TranscriptRow]
	knowledge int64 // how many rows of knowledge are its
}

var transcripts = newLayout(parquet.SchemaOf(new(file.TranscriptRow)), append(
	headFields(func(r *transcript) *record.Head { return &r.row.Head }, func(r *transcript, at int64) { r.at = at }),
	[]field[transcript]{
		{"source_contact_id", func(r *transcript, v *parquet.Value, a *arena) { r.row.ContactID = a.text(v) }},
		{"source_company_id", func(r *transcript, v *parquet.Value, a *arena) { r.row.CompanyID = a.text(v) }},
		{"session_id", func(r *transcript, v *parquet.Value, a *arena) { r.row.SessionID = a.text(v) }},
		{"subject", func(r *transcript, v *parquet.Value, a *arena) { r.row.Subject = a.text(v) }},
		{"message_count", func(r *transcript, v *parquet.Value, _ *arena) { r.row.MessageCount = int(v.Int64()) }},
		{"expected_message_count", func(r *transcript, v *parquet.Value, _ *arena) { r.row.ExpectedMessageCount = int(v.Int64()) }},
		{"complete", func(r *transcript, v *parquet.Value, _ *arena) { r.row.Complete = v.Boolean() }},
		{"status", func(r *transcript, v *parquet.Value, a *arena) { r.row.Status = a.text(v) }},
		{"outcome", func(r *transcript, v *parquet.Value, a *arena) { r.row.Outcome = a.text(v) }},
		{"started_at", func(r *transcript, v *parquet.Value, _ *arena) { r.row.StartedAt = instant(v) }},
		{"ended_at", func(r *transcript, v *parquet.Value, _ *arena) { r.row.EndedAt = instant(v) }},
		{"metadata", func(r *transcript, v *parquet.Value, a *arena) { r.row.Metadata = a.raw(v) }},
		{"knowledge_hash", func(r *transcript, v *parquet.Value, _ *arena) { r.row.KnowledgeHash = digest(v) }},
		{"knowledge_count", func(r *transcript, v *parquet.Value, _ *arena) { r.knowledge = v.Int64() }},
		{"messages", func(r *transcript, v *parquet.Value, a *arena) { r.row.MessagesJSON = a.raw(v) }},
	}...)...)

var tickets = newLayout(parquet.SchemaOf(new(file.TicketRow)), append(
	headFields(func(r *fetched[record.TicketRow]) *record.Head { return &r.row.Head }, (*fetched[record.TicketRow]).setAt),
	[]field[fetched[record.TicketRow]]{
		{"source_contact_id", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.ContactID = a.text(v) }},
		{"source_company_id", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.CompanyID = a.text(v) }},
		{"source_conversation_id", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.ConversationID = a.text(v) }},
		{"ticket_number", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Number = a.text(v) }},
		{"subject", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Subject = a.text(v) }},
		{"message", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Message = a.text(v) }},
		{"status", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Status = a.text(v) }},
		{"priority", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Priority = a.text(v) }},
		{"category", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Category = a.text(v) }},
		{"assignee", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Assignee = a.text(v) }},
		{"resolved_at", func(r *fetched[record.TicketRow], v *parquet.Value, _ *arena) { r.row.ResolvedAt = instant(v) }},
		{"metadata", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.Metadata = a.raw(v) }},
		{"messages", func(r *fetched[record.TicketRow], v *parquet.Value, a *arena) { r.row.MessagesJSON = a.raw(v) }},
	}...)...)

var knowledge = newLayout(parquet.SchemaOf(new(file.KnowledgeRow)), []field[record.KnowledgeRow]{
	{"org_id", func(r *record.KnowledgeRow, v *parquet.Value, _ *arena) { r.Org = uuid(v) }},
	{"id", func(r *record.KnowledgeRow, v *parquet.Value, _ *arena) { r.ID = uuid(v) }},
	{"source_id", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) { r.SourceID = a.text(v) }},
	{"source_updated_at", func(r *record.KnowledgeRow, v *parquet.Value, _ *arena) { r.SourceUpdatedAt = instant(v) }},
	{"key", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) { r.Key = a.text(v) }},
	{"kind", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) { r.Kind = a.text(v) }},
	{"parent_id", func(r *record.KnowledgeRow, v *parquet.Value, _ *arena) { r.ParentID = uuid(v) }},
	{"chunk_index", func(r *record.KnowledgeRow, v *parquet.Value, _ *arena) { r.ChunkIndex = int(v.Int64()) }},
	{"title", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) { r.Title = a.text(v) }},
	{"content", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) { r.Content = a.text(v) }},
	{"source_message_ids", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) {
		r.SourceMessageIDs = a.push(r.SourceMessageIDs, a.text(v))
	}},
	{"metadata", func(r *record.KnowledgeRow, v *parquet.Value, a *arena) { r.Metadata = a.raw(v) }},
	{"content_hash", func(r *record.KnowledgeRow, v *parquet.Value, _ *arena) { r.Hash = digest(v) }},
}...)

var tombstones = newLayout(parquet.SchemaOf(new(file.TombstoneRow)), []field[file.TombstoneRow]{
	{"place", func(r *file.TombstoneRow, v *parquet.Value, _ *arena) { r.Place = v.Int64() }},
	{"kind", func(r *file.TombstoneRow, v *parquet.Value, a *arena) { r.Kind = a.text(v) }},
	{"source_id", func(r *file.TombstoneRow, v *parquet.Value, a *arena) { r.SourceID = a.text(v) }},
	{"source_updated_at", func(r *file.TombstoneRow, v *parquet.Value, _ *arena) { r.UpdatedAt = instant(v) }},
	{"fetched_at", func(r *file.TombstoneRow, v *parquet.Value, _ *arena) { r.FetchedAt = instant(v) }},
	{"why", func(r *file.TombstoneRow, v *parquet.Value, a *arena) { r.Why = a.text(v) }},
	{"gone_at", func(r *file.TombstoneRow, v *parquet.Value, _ *arena) { r.GoneAt = instant(v) }},
	{"merged_into", func(r *file.TombstoneRow, v *parquet.Value, a *arena) { r.MergedInto = a.text(v) }},
}...)

var rejects = newLayout(parquet.SchemaOf(new(file.RejectRow)), []field[file.RejectRow]{
	{"stage", func(r *file.RejectRow, v *parquet.Value, a *arena) { r.Stage = a.text(v) }},
	{"kind", func(r *file.RejectRow, v *parquet.Value, a *arena) { r.Kind = a.text(v) }},
	{"source_id", func(r *file.RejectRow, v *parquet.Value, a *arena) { r.SourceID = a.text(v) }},
	{"field", func(r *file.RejectRow, v *parquet.Value, a *arena) { r.Field = a.text(v) }},
	{"reason", func(r *file.RejectRow, v *parquet.Value, a *arena) { r.Reason = a.text(v) }},
	{"payload", func(r *file.RejectRow, v *parquet.Value, a *arena) { r.Payload = a.raw(v) }},
}...)

var pageRows = newLayout(parquet.SchemaOf(new(file.PageRow)), []field[file.PageRow]{
	{"seq", func(r *file.PageRow, v *parquet.Value, _ *arena) { r.Seq = v.Int64() }},
	{"kind", func(r *file.PageRow, v *parquet.Value, a *arena) { r.Kind = a.text(v) }},
	{"source_id", func(r *file.PageRow, v *parquet.Value, a *arena) { r.SourceID = a.text(v) }},
	{"request", func(r *file.PageRow, v *parquet.Value, a *arena) { r.Request = a.text(v) }},
	{"api_version", func(r *file.PageRow, v *parquet.Value, a *arena) { r.APIVersion = a.text(v) }},
	{"fetched_at", func(r *file.PageRow, v *parquet.Value, _ *arena) { r.FetchedAt = instant(v) }},
	{"gone", func(r *file.PageRow, v *parquet.Value, a *arena) { r.Gone = a.text(v) }},
	{"gone_at", func(r *file.PageRow, v *parquet.Value, _ *arena) { r.GoneAt = instant(v) }},
	{"merged_into", func(r *file.PageRow, v *parquet.Value, a *arena) { r.MergedInto = a.text(v) }},
	{"body", func(r *file.PageRow, v *parquet.Value, a *arena) { r.Body = a.raw(v) }},
}...)
