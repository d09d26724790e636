package cutover

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// Evidence is all that the checklist is made of, as it was at At.
type Evidence struct {
	Org        record.UUID
	At         time.Time // by the database's clock
	Connection connection.Connection

	Status postgres.Status
	// Walks are the complete backfills that have read a stream from its beginning to its end, whatever else they read, newest first.
	Walks       []Walk
	Unfinished  *postgres.RunInfo // the newest backfill that is neither complete nor put aside; nil: none
	Replay      *postgres.RunInfo // the newest complete one of everything
	Wrote       *Write            // what changed Halo's rows last; nil: nothing ever did
	Inbox       Inbox
	Rejects     []postgres.RejectCount
	Incomplete  []Incomplete // at most mostIncomplete
	Cut         int64        // incomplete ones that are cut by Intercom
	Unexplained int64        // the others
	Links       LinkCounts
	Attachments Inventory // Wanted: something is known of files, so a run was asked to save them
	Snapshots   []Kept
	Diffs       []postgres.DiffRun // newest first
	Proofs      map[record.UUID]Proof

	// Missed is why items could not be looked at, by key.
	Missed map[string]error
}

// Walk is a stream that a backfill has read to its end.
type Walk struct {
	Stream                      string
	Run                         record.UUID
	Attempts                    int64
	UserIDField, CompanyIDField string // with which its objects were mapped; "": not known
	StartedAt, FinishedAt       time.Time
}

// Write is a run, or its undoing, that changed Halo's rows.
type Write struct {
	Run  record.UUID
	Kind string
	At   time.Time // of its last batch
}

// Inbox counts deliveries of webhooks.
type Inbox struct {
	Received, Open, Failed int64
	// Parked are those of Failed that are tried no more, because they failed too often.
	Parked int64
	// Nameless are not among the open ones: they name nothing that can be read, so that nothing can be done about them.
	Nameless           int64
	Newest, OldestOpen time.Time
	// Error is why the oldest failed one could not be worked off.
	Error string
}

// LinkCounts counts references that wait for their object.
type LinkCounts struct {
	Waiting int64 // all
	Broken  int64 // those whose object is there
}

// Kept is a location of snapshots.
type Kept struct {
	Location           string
	Runs, Files, Bytes int64
	Walked             bool      // backfills of all streams are in it
	NewestAt           time.Time // of the newest run in it
	// Left is the first run since those backfills began which wrote and is not in it; zero: none.
	Left Write
}

// mostIncomplete are listed.
const mostIncomplete = 1000

// Store is what evidence is gathered from.
type Store struct {
	DB          *postgres.DB
	Connections *connection.Store
}

// walk returns the newest walk of a stream that was mapped with these id fields.
func walk(list []Walk, stream string, conn connection.Connection) (Walk, bool) {
	for _, w := range list {
		if w.Stream == stream && (w.UserIDField == "" || w.UserIDField == conn.UserIDField) && (w.CompanyIDField == "" || w.CompanyIDField == conn.CompanyIDField) {
			return w, true
		}
	}
	return Walk{}, false
}

// Look gathers the evidence. What the database does not let it see is in Missed; an error means that nothing can be said. each is
// given every attachment, and every incomplete conversation, as they are read; both may be nil, and their errors end it.
func Look(ctx context.Context, store Store, org record.UUID, attachment func(postgres.Attachment) error, incomplete func(Incomplete) error) (Evidence, error) {
	conn, err := store.Connections.Get(ctx, org)
	if err != nil {
		return Evidence{}, err
	}
	l := &look{Evidence: Evidence{Org: org, Connection: conn, Missed: map[string]error{}, Proofs: map[record.UUID]Proof{}}, db: store.DB}
	if l.At, err = l.now(ctx); err != nil {
		return Evidence{}, err
	}
	for _, part := range []struct {
		do   func(context.Context) error
		keys []string // of the items that need it
	}{
		{l.status, []string{Running, Conversations}}, // which is about their total as well
		{l.runs, []string{Backfill, Diff, Snapshot}},
		{l.inbox, []string{Webhooks}},
		{l.rejects, []string{Rejects}},
		{func(ctx context.Context) error { return l.conversations(ctx, incomplete) }, []string{Conversations}},
		{l.links, []string{Links}},
		{func(ctx context.Context) error { return l.attachments(ctx, attachment) }, []string{Attachments}},
		{l.snapshots, []string{Snapshot}},
		{l.diffs, []string{Diff}},
	} {
		err := part.do(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return Evidence{}, context.Cause(ctx)
		case postgres.SQLState(err) != "" && !postgres.Transient(err):
			for _, key := range part.keys {
				l.Missed[key] = errors.Join(l.Missed[key], err)
			}
		default:
			return Evidence{}, err
		}
	}
	return l.Evidence, nil
}

type look struct {
	Evidence
	db    *postgres.DB
	wrote []Write // newest first
}

func (l *look) now(ctx context.Context) (at time.Time, err error) {
	return at, l.ask(ctx, "ask the database for the time", []any{&at}, `SELECT clock_timestamp()`)
}

func (l *look) status(ctx context.Context) (err error) {
	l.Status, err = l.db.Status(ctx, l.Org)
	return err
}

func (l *look) rejects(ctx context.Context) (err error) {
	l.Rejects, err = l.db.RejectCounts(ctx, l.Org)
	return err
}

func (l *look) attachments(ctx context.Context, each func(postgres.Attachment) error) error {
	t := &l.Attachments
	causes := map[string]int64{}
	for a, err := range l.db.Attachments(ctx, l.Org) {
		if err != nil {
			return err
		}
		t.Files++
		t.Wanted = t.Wanted || a.Known
		switch {
		case a.Path != "":
			t.Saved++
			t.SavedBytes += a.Bytes
		case a.Gone:
			t.Gone++
		case a.Known:
			t.Failed++
			t.Bytes += a.Size
			if _, known := causes[a.Error]; known || len(causes) < mostCauses {
				causes[a.Error]++
			}
		default:
			t.Unasked++
			t.Bytes += a.Size
		}
		if each != nil {
			if err := each(a); err != nil {
				return err
			}
		}
	}
	for why, n := range causes {
		t.Causes = append(t.Causes, Cause{why, n})
	}
	slices.SortFunc(t.Causes, func(a, b Cause) int { return cmp.Or(cmp.Compare(b.Files, a.Files), cmp.Compare(a.Error, b.Error)) })
	t.Causes = t.Causes[:min(len(t.Causes), mostLines)]
	return nil
}

// mostCauses are told apart.
const mostCauses = 1000
