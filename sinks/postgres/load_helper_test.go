package postgres

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// at is a time n seconds into the tests' year.
func at(n int) time.Time { return time.Date(2024, 1, 1, 0, 0, n, 0, time.UTC) }

// version is a state's: changed at second n, read some time later.
func version(n int) record.Version {
	return record.Version{UpdatedAt: at(n), FetchedAt: at(n + 100_000)}
}

func head(org record.UUID, kind record.Kind, id string, n int) record.Head {
	return record.Head{Org: org, ID: record.RowID(org, kind, id), SourceID: id, SourceUpdatedAt: at(n), SourceCreatedAt: at(0)}
}

// contactChange is a user; f changes it before it is sealed.
func contactChange(org record.UUID, id string, n int, f func(*record.EndUserRow)) record.Change {
	r := &record.EndUserRow{Head: head(org, record.KindContact, id, n), Role: "user", Name: fmt.Sprintf("%s v%d", id, n)}
	if f != nil {
		f(r)
	}
	r.EmailKey = record.EmailKey(r.Email)
	r.Seal(new(record.Encoder))
	return record.Change{Kind: record.KindContact, SourceID: id, Version: version(n), EndUser: r, Object: &record.Object{Kind: record.KindContact, ID: id, Body: []byte(`{"contact":"` + id + `"}`)}}
}

func companyChange(org record.UUID, id string, n int, f func(*record.CompanyRow)) record.Change {
	r := &record.CompanyRow{Head: head(org, record.KindCompany, id, n), Name: fmt.Sprintf("%s v%d", id, n)}
	if f != nil {
		f(r)
	}
	r.Seal(new(record.Encoder))
	return record.Change{Kind: record.KindCompany, SourceID: id, Version: version(n), Company: r, Object: &record.Object{Kind: record.KindCompany, ID: id, Body: []byte(`{"company":"` + id + `"}`)}}
}

func messages(from, to int) []record.Message {
	var list []record.Message
	for i := from; i < to; i++ {
		list = append(list, record.Message{ID: fmt.Sprint(100 + i), Speaker: record.SpeakerUser, Kind: "comment", Text: fmt.Sprintf("message %d", i), At: at(i)})
	}
	return list
}

func setMessages(r *record.TranscriptRow, list []record.Message) {
	r.Messages = list
	r.MessagesJSON = record.AppendMessages(nil, list)
	r.MessageCount = len(list)
	if r.ExpectedMessageCount < len(list) {
		r.ExpectedMessageCount = len(list)
	}
	r.Complete = r.MessageCount >= r.ExpectedMessageCount
}

// conversationChange has three messages and, for each text in knowledge, a row of it.
func conversationChange(org record.UUID, id, contact string, n int, knowledge []string, f func(*record.TranscriptRow)) record.Change {
	r := &record.TranscriptRow{Head: head(org, record.KindConversation, id, n), ContactID: contact, Status: "active", Subject: fmt.Sprintf("%s v%d", id, n),
		Metadata: json.RawMessage(`{"source":"intercom"}`)}
	setMessages(r, messages(0, 3))
	if f != nil {
		f(r)
	}
	e := new(record.Encoder)
	r.Seal(e)
	c := record.Change{Kind: record.KindConversation, SourceID: id, Version: version(n), Transcript: r, Object: &record.Object{Kind: record.KindConversation, ID: id, Body: []byte(`{"conversation":"` + id + `"}`)}}
	for i, text := range knowledge {
		k := record.KnowledgeRow{Org: org, Key: "intercom:conversation:" + id, Kind: record.KnowledgeParent, ChunkIndex: i, Content: text,
			SourceMessageIDs: []string{"100"}, SourceID: id, SourceUpdatedAt: at(n)}
		k.ID = record.KnowledgeID(org, k.Key, k.Kind, i)
		k.Seal(e)
		c.Knowledge = append(c.Knowledge, k)
	}
	r.KnowledgeHash = record.KnowledgeHash(e, c.Knowledge)
	return c
}

func ticketChange(org record.UUID, id, contact string, n int, f func(*record.TicketRow)) record.Change {
	r := &record.TicketRow{Head: head(org, record.KindTicket, id, n), ContactID: contact, Number: id, Subject: fmt.Sprintf("%s v%d", id, n), Status: "open", Priority: "normal"}
	if f != nil {
		f(r)
	}
	r.Seal(new(record.Encoder))
	return record.Change{Kind: record.KindTicket, SourceID: id, Version: version(n), Ticket: r, Object: &record.Object{Kind: record.KindTicket, ID: id, Body: []byte(`{"ticket":"` + id + `"}`)}}
}

func goneChange(kind record.Kind, id string, n int) record.Change {
	return record.Change{Kind: kind, SourceID: id, Version: record.Version{UpdatedAt: at(n), FetchedAt: at(n + 100_000), Rank: 1},
		Gone: &record.Tombstone{Why: record.GoneDeleted, At: at(n)}, Object: &record.Object{Kind: kind, ID: id, Gone: record.GoneDeleted}}
}

func mergedChange(id, into string, n int) record.Change {
	c := goneChange(record.KindContact, id, n)
	c.Gone.Why, c.Gone.MergedInto = record.GoneMerged, into
	return c
}

// loading is a sink on a database of the test's own.
type loading struct {
	tb    testing.TB
	db    *DB
	lease *Lease
	run   *Run
	sink  *Sink
	seq   uint64
}

func newLoading(tb testing.TB) *loading {
	tb.Helper()
	db := newDB(tb)
	return loadingOn(tb, db, acquire(tb, db, orgA), "all")
}

func loadingOn(tb testing.TB, db *DB, lease *Lease, stream string) *loading {
	tb.Helper()
	run := startRun(tb, lease, RunSpec{Kind: "test " + stream, Restart: true})
	x := &loading{tb: tb, db: db, lease: lease, run: run, sink: run.Sink(stream, SinkOptions{})}
	tb.Cleanup(func() { _ = x.sink.Close(tb.Context()) })
	return x
}

// commit loads one batch and returns the counts that this batch added.
func (x *loading) commit(changes ...record.Change) pipeline.Counts {
	x.tb.Helper()
	before := x.counts()
	if err := x.try(changes...); err != nil {
		x.tb.Fatalf("commit: %v", err)
	}
	after := x.counts()
	for name, n := range before {
		if after[name] -= n; after[name] == 0 {
			delete(after, name)
		}
	}
	return after
}

func (x *loading) try(changes ...record.Change) error {
	err := x.sink.Commit(x.tb.Context(), pipeline.Batch[record.Change]{Seq: x.seq, Items: changes, Cursor: pipeline.Cursor(fmt.Sprintf("\x01%d", x.seq))})
	if err == nil {
		x.seq++
	}
	return err
}

func (x *loading) counts() pipeline.Counts {
	x.tb.Helper()
	c, err := x.run.Checkpoint(x.tb.Context(), x.sink.stream)
	if err != nil {
		x.tb.Fatal(err)
	}
	if c.Counts == nil {
		c.Counts = pipeline.Counts{}
	}
	return c.Counts
}

// table reads rows as lines of text.
func (x *loading) table(sql string, args ...any) []string {
	x.tb.Helper()
	rows, err := x.db.Pool().Query(x.tb.Context(), `SELECT coalesce(r::text, '') FROM (`+sql+`) r`, args...)
	if err != nil {
		x.tb.Fatalf("%s: %v", sql, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		x.tb.Fatalf("%s: %v", sql, err)
	}
	return list
}

func (x *loading) exec(sql string, args ...any) {
	x.tb.Helper()
	if _, err := x.db.Pool().Exec(x.tb.Context(), sql, args...); err != nil {
		x.tb.Fatalf("%s: %v", sql, err)
	}
}
