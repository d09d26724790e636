package snapshot

import (
	"context"
	"slices"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	file "haloingest/sinks/parquet"
)

// collector puts the tables of a segment together.
type collector struct {
	r     *Reader
	seg   Segment
	arena arena

	items       []record.Change
	transcripts []transcript
	at          int // where they begin in items
	learnt      []record.KnowledgeRow
	knowledge   string // the file that they are from
	gone        []file.TombstoneRow
	tombstones  string
	rejects     []pipeline.Reject
}

func (c *collector) add(ctx context.Context, info *file.FileInfo) error {
	r, a := c.r, &c.arena
	switch info.Table {
	case record.KindContact.Table():
		rows, err := table(ctx, r, info, &endUsers, a)
		if err != nil {
			return err
		}
		return collect(c, info, record.KindContact, rows, func(row *fetched[record.EndUserRow], to *record.Change) (*record.Head, int64) {
			to.EndUser = &row.row
			return &row.row.Head, row.at
		})
	case record.KindCompany.Table():
		rows, err := table(ctx, r, info, &companies, a)
		if err != nil {
			return err
		}
		return collect(c, info, record.KindCompany, rows, func(row *fetched[record.CompanyRow], to *record.Change) (*record.Head, int64) {
			to.Company = &row.row
			return &row.row.Head, row.at
		})
	case record.KindConversation.Table():
		rows, err := table(ctx, r, info, &transcripts, a)
		if err != nil {
			return err
		}
		c.transcripts, c.at = rows, len(c.items)
		return collect(c, info, record.KindConversation, rows, func(row *transcript, to *record.Change) (*record.Head, int64) {
			to.Transcript = &row.row
			return &row.row.Head, row.at
		})
	case record.KindTicket.Table():
		rows, err := table(ctx, r, info, &tickets, a)
		if err != nil {
			return err
		}
		return collect(c, info, record.KindTicket, rows, func(row *fetched[record.TicketRow], to *record.Change) (*record.Head, int64) {
			to.Ticket = &row.row
			return &row.row.Head, row.at
		})
	case file.TableKnowledge:
		var err error
		c.knowledge = info.Path
		c.learnt, err = table(ctx, r, info, &knowledge, a)
		return err
	case file.TableTombstones:
		var err error
		c.tombstones = info.Path
		c.gone, err = table(ctx, r, info, &tombstones, a)
		return err
	case file.TableRejects:
		rows, err := table(ctx, r, info, &rejects, a)
		if err != nil {
			return err
		}
		c.rejects = make([]pipeline.Reject, len(rows))
		for i, x := range rows {
			c.rejects[i] = pipeline.Reject{Stage: x.Stage, Kind: x.Kind, ID: x.SourceID, Field: x.Field, Reason: x.Reason, Payload: x.Payload}
		}
		return nil
	}
	return corrupt(info.Path, "is of a table %q that this program does not know", info.Table)
}

// collect makes changes of a table's rows.
func collect[T any](c *collector, info *file.FileInfo, kind record.Kind, rows []T, of func(*T, *record.Change) (*record.Head, int64)) error {
	c.items = slices.Grow(c.items, len(rows))
	for i := range rows {
		c.items = append(c.items, record.Change{Kind: kind})
		to := &c.items[len(c.items)-1]
		h, at := of(&rows[i], to)
		if h.Org != c.r.s.Org {
			return corrupt(info.Path, "holds %s %s of organisation %s", kind, h.SourceID, h.Org)
		}
		to.SourceID = h.SourceID
		to.Version = record.Version{UpdatedAt: h.SourceUpdatedAt, FetchedAt: time.UnixMicro(at).UTC()}
	}
	return nil
}

func (c *collector) done() (Changes, error) {
	if err := c.learn(); err != nil {
		return Changes{}, err
	}
	if err := c.bury(); err != nil {
		return Changes{}, err
	}
	return Changes{Items: c.items, Rejects: c.rejects}, nil
}

// learn gives each transcript its knowledge, which comes in the same order.
func (c *collector) learn() error {
	rest := c.learnt
	for i := range c.transcripts {
		t := &c.transcripts[i]
		if t.knowledge == 0 {
			continue
		}
		if t.knowledge < 0 || t.knowledge > int64(len(rest)) {
			return corrupt(c.knowledge, "has less knowledge than transcripts of segment %d say", c.seg.Seq)
		}
		n := int(t.knowledge)
		for j := range rest[:n] {
			if k := &rest[j]; k.SourceID != t.row.SourceID || k.Org != t.row.Org {
				return corrupt(c.knowledge, "has knowledge of conversation %s where that of %s is to be", k.SourceID, t.row.SourceID)
			}
		}
		c.items[c.at+i].Knowledge = rest[:n:n]
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return corrupt(c.knowledge, "has %d rows more than transcripts of segment %d say", len(rest), c.seg.Seq)
	}
	return nil
}

// bury puts the tombstones into the places that they had among the changes.
func (c *collector) bury() error {
	if len(c.gone) == 0 {
		return nil
	}
	rows := c.items
	c.items = make([]record.Change, 0, len(rows)+len(c.gone))
	for i := range c.gone {
		t := &c.gone[i]
		kind := record.Kind(t.Kind)
		if !slices.Contains(record.Kinds[:], kind) {
			return corrupt(c.tombstones, "has a tombstone of an unknown kind %q", t.Kind)
		}
		ahead := int(t.Place) - len(c.items)
		if ahead < 0 || ahead > len(rows) {
			return corrupt(c.tombstones, "has a tombstone in place %d of segment %d, which is none", t.Place, c.seg.Seq)
		}
		c.items = append(c.items, rows[:ahead]...)
		rows = rows[ahead:]
		c.items = append(c.items, record.Change{
			Kind: kind, SourceID: t.SourceID, Version: record.Version{UpdatedAt: t.UpdatedAt, FetchedAt: t.FetchedAt, Rank: 1},
			Gone: &record.Tombstone{Why: record.Gone(t.Why), At: t.GoneAt, MergedInto: t.MergedInto},
		})
	}
	c.items = append(c.items, rows...)
	return nil
}
