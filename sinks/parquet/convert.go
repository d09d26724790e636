package parquet

import "haloingest/pipeline/record"

// The functions of this file make rows of files of what the PostgreSQL sink is handed. Texts and documents are shared, not copied.

func head(c *record.Change, h *record.Head) Head {
	return Head{
		OrgID: h.Org, ID: h.ID, SourceID: h.SourceID,
		SourceUpdatedAt: micros(h.SourceUpdatedAt), SourceCreatedAt: micros(h.SourceCreatedAt),
		FetchedAt: micros(c.Version.FetchedAt), ContentHash: h.Hash,
	}
}

func endUserRow(c *record.Change) EndUserRow {
	r := c.EndUser
	return EndUserRow{
		Head: head(c, &r.Head), ExternalID: r.ExternalID, Name: r.Name, Email: r.Email, Avatar: r.Avatar, Role: r.Role,
		SignedUpAt: micros(r.SignedUpAt), FirstSeen: micros(r.FirstSeen), LastSeen: micros(r.LastSeen), LastContactedAt: micros(r.LastContactedAt),
		CustomFields: r.CustomFields, Context: r.Context, SourceCompanies: r.Companies,
	}
}

func companyRow(c *record.Change) CompanyRow {
	r := c.Company
	return CompanyRow{
		Head: head(c, &r.Head), ExternalID: r.ExternalID, Name: r.Name, Domain: r.Domain, Industry: r.Industry, Plan: r.Plan,
		EmployeeCount: int64(r.EmployeeCount), SignedUpAt: micros(r.SignedUpAt), CustomFields: r.CustomFields, Context: r.Context,
		LastRequestAt: micros(r.LastRequestAt),
	}
}

func transcriptRow(c *record.Change) TranscriptRow {
	r := c.Transcript
	return TranscriptRow{
		Head: head(c, &r.Head), SourceContactID: r.ContactID, SourceCompanyID: r.CompanyID, SessionID: r.SessionID, Subject: r.Subject,
		MessageCount: int64(r.MessageCount), ExpectedMessageCount: int64(r.ExpectedMessageCount), Complete: r.Complete,
		Status: r.Status, Outcome: r.Outcome, StartedAt: micros(r.StartedAt), EndedAt: micros(r.EndedAt), Metadata: r.Metadata,
		KnowledgeHash: r.KnowledgeHash, KnowledgeCount: int64(len(c.Knowledge)), Messages: r.MessagesJSON,
	}
}

func ticketRow(c *record.Change) TicketRow {
	r := c.Ticket
	return TicketRow{
		Head: head(c, &r.Head), SourceContactID: r.ContactID, SourceCompanyID: r.CompanyID, SourceConversationID: r.ConversationID,
		TicketNumber: r.Number, Subject: r.Subject, Message: r.Message, Status: r.Status, Priority: r.Priority, Category: r.Category,
		Assignee: r.Assignee, ResolvedAt: micros(r.ResolvedAt), Metadata: r.Metadata, Messages: r.MessagesJSON,
	}
}

func knowledgeRow(r *record.KnowledgeRow) KnowledgeRow {
	return KnowledgeRow{
		OrgID: r.Org, ID: r.ID, SourceID: r.SourceID, SourceUpdatedAt: micros(r.SourceUpdatedAt), Key: r.Key, Kind: r.Kind,
		ParentID: r.ParentID, ChunkIndex: int64(r.ChunkIndex), Title: r.Title, Content: r.Content,
		SourceMessageIDs: r.SourceMessageIDs, Metadata: r.Metadata, ContentHash: r.Hash,
	}
}

func tombstoneRow(c *record.Change, place int) TombstoneRow {
	return TombstoneRow{
		Place: int64(place), Kind: string(c.Kind), SourceID: c.SourceID, UpdatedAt: micros(c.Version.UpdatedAt), FetchedAt: micros(c.Version.FetchedAt),
		Why: string(c.Gone.Why), GoneAt: micros(c.Gone.At), MergedInto: c.Gone.MergedInto,
	}
}
