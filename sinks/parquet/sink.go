package parquet

import (
	"context"
	"fmt"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Pages writes the objects of each batch as files of pages/, one for each kind. It is a pipeline.FileSink; like the engine, it
// writes one batch at a time. A batch without objects makes no file.
type Pages struct {
	to     Target
	stream string
	base   int64
	codec  *codec
	kinds  map[record.Kind]*table[PageRow]
}

// NewPages returns the sink of a stream's pages. base is how many batches of the stream earlier attempts have committed: batch n of
// this one is segment base+n, which is the number of the transaction that commits it.
func NewPages(to Target, stream string, base uint64) *Pages {
	return &Pages{to: to, stream: stream, base: int64(base), codec: new(codec), kinds: make(map[record.Kind]*table[PageRow])}
}

// Name is the tap's name in metrics.
func (s *Pages) Name() string { return "keep-pages" }

// Write makes the batch's pages durable. An error of the store is a *StoreError.
func (s *Pages) Write(ctx context.Context, b pipeline.Batch[record.Object]) ([]pipeline.File, error) {
	seq := s.base + int64(b.Seq)
	for i := range b.Items {
		o := &b.Items[i]
		t := s.kinds[o.Kind]
		if t == nil {
			t = newTable[PageRow](LayerPages, o.Kind.Stream(), s.codec, "body")
			s.kinds[o.Kind] = t
		}
		r := t.add(o.ID)
		*r = PageRow{
			Seq: seq, Kind: string(o.Kind), SourceID: o.ID, Request: o.Request, APIVersion: o.APIVersion, FetchedAt: micros(o.FetchedAt),
			Gone: string(o.Gone), GoneAt: micros(o.GoneAt), MergedInto: o.MergedInto, Body: o.Body,
		}
		if o.Gone == "" {
			t.prints.AddBytes(r.SourceID, r.FetchedAt, r.Body)
		} else {
			t.prints.Add(r.SourceID, r.FetchedAt, r.Gone, r.MergedInto, string(r.Body))
		}
	}
	var files []pipeline.File
	var err error
	for _, kind := range record.Kinds {
		if t := s.kinds[kind]; t != nil {
			if err == nil {
				files, err = t.flush(ctx, s.to, s.stream, seq, files)
			}
			t.forget()
		}
	}
	return files, err
}

// Rows writes the changes of each batch, and the rejects that have come with it, as files of rows/, one for each table. It is a
// pipeline.FileSink. A table without rows makes no file.
type Rows struct {
	to     Target
	stream string
	base   int64

	endUsers    *table[EndUserRow]
	companies   *table[CompanyRow]
	transcripts *table[TranscriptRow]
	tickets     *table[TicketRow]
	knowledge   *table[KnowledgeRow]
	tombstones  *table[TombstoneRow]
	rejects     *table[RejectRow]
}

// NewRows returns the sink of a stream's rows; see NewPages.
func NewRows(to Target, stream string, base uint64) *Rows {
	c := new(codec)
	return &Rows{
		to: to, stream: stream, base: int64(base),
		endUsers:    newTable[EndUserRow](LayerRows, record.KindContact.Table(), c, "custom_fields", "context", "avatar"),
		companies:   newTable[CompanyRow](LayerRows, record.KindCompany.Table(), c, "custom_fields", "context"),
		transcripts: newTable[TranscriptRow](LayerRows, record.KindConversation.Table(), c, "metadata", "messages"),
		tickets:     newTable[TicketRow](LayerRows, record.KindTicket.Table(), c, "message", "metadata", "messages"),
		knowledge:   newTable[KnowledgeRow](LayerRows, TableKnowledge, c, "content", "metadata"),
		tombstones:  newTable[TombstoneRow](LayerRows, TableTombstones, c),
		rejects:     newTable[RejectRow](LayerRows, TableRejects, c, "reason", "payload"),
	}
}

// Name is the tap's name in metrics.
func (s *Rows) Name() string { return "keep-rows" }

// Write makes the batch's rows durable. An error of the store is a *StoreError.
func (s *Rows) Write(ctx context.Context, b pipeline.Batch[record.Change]) (files []pipeline.File, err error) {
	defer s.forget()
	for i := range b.Items {
		if err := s.add(&b.Items[i], i); err != nil {
			return nil, err
		}
	}
	for i := range b.Rejects {
		s.reject(&b.Rejects[i])
	}
	seq := s.base + int64(b.Seq)
	for _, t := range s.tables() {
		if files, err = t.flush(ctx, s.to, s.stream, seq, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// flusher is a table of any row.
type flusher interface {
	flush(ctx context.Context, to Target, stream string, seq int64, files []pipeline.File) ([]pipeline.File, error)
	forget()
}

func (s *Rows) tables() []flusher {
	return []flusher{s.endUsers, s.companies, s.transcripts, s.knowledge, s.tickets, s.tombstones, s.rejects}
}

func (s *Rows) forget() {
	for _, t := range s.tables() {
		t.forget()
	}
}

func (s *Rows) add(c *record.Change, place int) error {
	switch {
	case c.EndUser != nil:
		r := s.endUsers.add(c.SourceID)
		*r = endUserRow(c)
		s.endUsers.hashed(&r.Head)
	case c.Company != nil:
		r := s.companies.add(c.SourceID)
		*r = companyRow(c)
		s.companies.hashed(&r.Head)
	case c.Transcript != nil:
		r := s.transcripts.add(c.SourceID)
		*r = transcriptRow(c)
		s.transcripts.hashed(&r.Head)
		for i := range c.Knowledge {
			k := s.knowledge.add(c.Knowledge[i].SourceID)
			*k = knowledgeRow(&c.Knowledge[i])
			s.knowledge.prints.AddBytes(k.SourceID, time.Time{}, k.ContentHash[:])
		}
	case c.Ticket != nil:
		r := s.tickets.add(c.SourceID)
		*r = ticketRow(c)
		s.tickets.hashed(&r.Head)
	case c.Gone != nil:
		r := s.tombstones.add(c.SourceID)
		*r = tombstoneRow(c, place)
		s.tombstones.prints.Add(r.SourceID, r.FetchedAt, r.Kind, r.Why, r.MergedInto)
	default:
		return fmt.Errorf("keep %s %s: it has no row and is not gone", c.Kind, c.SourceID)
	}
	return nil
}

func (s *Rows) reject(in *pipeline.Reject) {
	r := s.rejects.add(in.ID)
	*r = RejectRow{Stage: in.Stage, Kind: in.Kind, SourceID: in.ID, Field: in.Field, Reason: in.Reason, Payload: in.Payload}
	s.rejects.prints.Add(r.SourceID, time.Time{}, r.Stage, r.Kind, r.Field, r.Reason, string(r.Payload))
}
