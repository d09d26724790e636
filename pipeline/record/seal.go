package record

// The Seal functions are the one place that says what a row's content_hash covers: the table's name,
// SourceID, SourceUpdatedAt, and in the order of the struct every value but those that halo.go marks
// as not hashed. Org and ID are left out, because they are the row's key and the sink may bind an
// object to a row of another id; so are the links of rows to each other. The Intercom ids that the
// links are made from are hashed: a conversation that moves to another contact is a change.
//
// All of them reset the Encoder, set the row's Hash and may be called again after a change.

func (e *Encoder) rowHead(table string, h *Head) {
	e.Reset(table)
	e.Text(h.SourceID)
	e.Time(h.SourceUpdatedAt)
}

// Seal computes the row's Hash.
func (r *EndUserRow) Seal(e *Encoder) {
	e.rowHead("end_users", &r.Head)
	e.NullText(r.ExternalID)
	e.NullText(r.Name)
	e.NullText(r.Email)
	e.NullText(r.Avatar)
	e.NullText(r.Role)
	e.Time(r.SignedUpAt)
	e.JSON(r.CustomFields)
	e.JSON(r.Context)
	e.Texts(r.Companies)
	r.Hash = e.Sum()
}

// Seal computes the row's Hash. LastRequestAt is part of it: it decides which company a contact
// belongs to, so a change of it has to reach the identity map.
func (r *CompanyRow) Seal(e *Encoder) {
	e.rowHead("companies", &r.Head)
	e.NullText(r.ExternalID)
	e.NullText(r.Name)
	e.NullText(r.Domain)
	e.NullText(r.Industry)
	e.NullText(r.Plan)
	e.NullInt(int64(r.EmployeeCount))
	e.Time(r.SignedUpAt)
	e.JSON(r.CustomFields)
	e.JSON(r.Context)
	e.Time(r.LastRequestAt)
	r.Hash = e.Sum()
}

// Seal computes the row's Hash. Messages counts through MessagesJSON, which must be set first.
func (r *TranscriptRow) Seal(e *Encoder) {
	e.rowHead("transcripts", &r.Head)
	e.NullText(r.ContactID)
	e.NullText(r.CompanyID)
	e.NullText(r.SessionID)
	e.NullText(r.Subject)
	e.JSON(r.MessagesJSON)
	e.Int(int64(r.MessageCount))
	e.Int(int64(r.ExpectedMessageCount))
	e.Bool(r.Complete)
	e.NullText(r.Status)
	e.NullText(r.Outcome)
	e.Time(r.StartedAt)
	e.Time(r.EndedAt)
	e.JSON(r.Metadata)
	r.Hash = e.Sum()
}

// Seal computes the row's Hash.
func (r *TicketRow) Seal(e *Encoder) {
	e.rowHead("tickets", &r.Head)
	e.NullText(r.ContactID)
	e.NullText(r.CompanyID)
	e.NullText(r.ConversationID)
	e.NullText(r.Number)
	e.NullText(r.Subject)
	e.NullText(r.Message)
	e.NullText(r.Status)
	e.NullText(r.Priority)
	e.NullText(r.Category)
	e.NullText(r.Assignee)
	e.JSON(r.MessagesJSON)
	e.Time(r.ResolvedAt)
	e.JSON(r.Metadata)
	r.Hash = e.Sum()
}

// Seal computes the row's Hash. The row's ID is derived from what is hashed; ParentID is hashed,
// because it is a value of the row here and no link that the sink decides.
func (r *KnowledgeRow) Seal(e *Encoder) {
	e.Reset("knowledge")
	e.Text(r.SourceID)
	e.Time(r.SourceUpdatedAt)
	e.Text(r.Key)
	e.Text(r.Kind)
	if r.ParentID.IsZero() {
		e.Null()
	} else {
		e.Bytes(r.ParentID[:])
	}
	e.Int(int64(r.ChunkIndex))
	e.NullText(r.Title)
	e.Text(r.Content)
	e.Texts(r.SourceMessageIDs)
	e.JSON(r.Metadata)
	r.Hash = e.Sum()
}

// KnowledgeHash is the digest of all knowledge rows of one transcript, which must be sealed, in their
// order. No rows have a digest, too, and it is not the zero one.
func KnowledgeHash(e *Encoder, rows []KnowledgeRow) Digest {
	e.Reset("knowledge of one transcript")
	for i := range rows {
		e.Bytes(rows[i].Hash[:])
	}
	return e.Sum()
}
