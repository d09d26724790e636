package diff

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"haloingest/pipeline/record"
)

var (
	// ErrConservation says that the totals of a diff do not add up: what was read is not what was compared. The report says where.
	ErrConservation = errors.New("the totals of the comparison do not add up")
	// ErrSpill says that files could not be written or read aside, as when the disk is full.
	ErrSpill = errors.New("the comparison could not keep its intermediate files")
	// ErrPartial says that the diff was interrupted. The report holds what was compared until then.
	ErrPartial = errors.New("the comparison was interrupted")
)

// Options of a diff. The zero value compares everything in full, to nobody's ears.
type Options struct {
	ID    record.UUID // of the diff; zero: a random one
	Org   record.UUID
	Level Level    // "": LevelFull
	Only  []string // streams (contacts, companies, conversations, tickets); empty: all
	// Without are entities to leave out, with a note, e.g. the knowledge where the left side has none.
	Without []string
	// Watermark is when the left side began to be read; zero: now. A change after it is in flight.
	Watermark time.Time

	Findings Findings // nil: findings are counted and sampled only
	// ShowValues puts values into findings instead of their length and a keyed hash. The key is made anew for every diff.
	ShowValues bool

	TempDir string // for what does not fit into memory; "": the system's
	Memory  int64  // bytes that both sides' fingerprints may have in memory; 0: 64 MiB. All in all it needs about three times as much

	// Rounds is how often an object that differs is looked at before the difference is confirmed, if a side moves; 0: 5. Pause is how
	// long to wait before the second look, twice as long before each further one; 0: 250 ms. Grace is for how long before the
	// watermark a change counts as possibly under way; 0: 30 s.
	Rounds int
	Pause  time.Duration
	Grace  time.Duration
	// RecheckLimit is how many objects of an entity may be looked at more than once, and of how many missing ones a left side that moves is
	// asked whether it still has them; 0: 20,000. Of those on the move more are unresolved.
	RecheckLimit int

	Now   func() time.Time                                 // nil: time.Now
	Sleep func(ctx context.Context, d time.Duration) error // nil: waits, or returns ctx's cause
	Log   *slog.Logger                                     // nil: nothing is logged
	// Progress is told now and then where the diff is; nil: nobody. It is called by several goroutines.
	Progress func(Progress)
}

// Progress is where a diff is.
type Progress struct {
	Entity string
	Phase  string // "left", "right": fingerprints read; "compare": objects compared
	Done   int64
}

// EntitiesOf are the entities that a diff of the streams is about, all of them if there are none.
func EntitiesOf(only []string) ([]string, error) {
	if len(only) == 0 {
		return Entities[:], nil
	}
	wanted := make(map[string]bool)
	for _, stream := range only {
		list := streamEntities[stream]
		if list == nil {
			return nil, errors.New("there is no stream " + stream + ": want companies, contacts, conversations or tickets")
		}
		for _, e := range list {
			wanted[e] = true
		}
	}
	var list []string
	for _, e := range Entities {
		if wanted[e] {
			list = append(list, e)
		}
	}
	return list, nil
}

var streamEntities = map[string][]string{
	"companies":     {"companies"},
	"contacts":      {"end_users"},
	"conversations": {"transcripts", "knowledge"},
	"tickets":       {"tickets"},
}

// Kind is the kind of Intercom object behind an entity.
func Kind(entity string) record.Kind {
	switch entity {
	case "companies":
		return record.KindCompany
	case "end_users":
		return record.KindContact
	case "tickets":
		return record.KindTicket
	}
	return record.KindConversation
}

func (o Options) withDefaults() Options {
	if o.Level == "" {
		o.Level = LevelFull
	}
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.Rounds <= 0 {
		o.Rounds = 5
	}
	if o.Pause <= 0 {
		o.Pause = 250 * time.Millisecond
	}
	if o.Grace <= 0 {
		o.Grace = 30 * time.Second
	}
	if o.RecheckLimit <= 0 {
		o.RecheckLimit = 20_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = wait
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Findings == nil {
		o.Findings = FindingsFunc(func(context.Context, Finding, *Object, *Object) error { return nil })
	}
	return o
}

// wait waits for d, or until ctx is done, whose cause it then returns.
func wait(ctx context.Context, d time.Duration) error {
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-timed.Done()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
