package compare

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sources/intercom"
)

// tally keeps what a walk has listed, in order to count it in a second way: 8 bytes an object, and how many there are
// of each day of creation. It is written by the one goroutine that reads the source, and read when that has ended.
type tally struct {
	kind   record.Kind
	began  time.Time
	until  int64 // the end of the walk, unix seconds, not included; 0: it has none
	seed   maphash.Seed
	ids    []uint64
	sorted bool
	days   map[int64]int
	parts  int64 // of conversations, by Intercom's own count
	untold int64 // conversations of which it tells none
}

// clockSkew is how far Intercom's clock may be from ours.
const clockSkew = time.Minute

func newTally(kind record.Kind, until int64) *tally {
	return &tally{kind: kind, began: time.Now().Add(-clockSkew), until: until, seed: maphash.MakeSeed(), days: make(map[int64]int)}
}

const day = 24 * 60 * 60

func (t *tally) add(o record.Object) {
	if o.Gone != "" {
		return
	}
	l := intercom.ListedAs(o)
	t.ids, t.sorted = append(t.ids, maphash.String(t.seed, o.ID)), false
	t.days[l.CreatedAt/day]++
	if l.Parts >= 0 {
		t.parts += int64(l.Parts)
	} else {
		t.untold++
	}
}

func (t *tally) has(id string) bool {
	if !t.sorted {
		slices.Sort(t.ids)
		t.ids, t.sorted = slices.Compact(t.ids), true
	}
	_, found := slices.BinarySearch(t.ids, maphash.String(t.seed, id))
	return found
}

// listed is how many objects there were, each counted once.
func (t *tally) listed() int {
	t.has("")
	return len(t.ids)
}

// between is how many were created in [from, to), in days.
func (t *tally) between(from, to int64) int {
	n := 0
	for d, k := range t.days {
		if d >= from && d < to {
			n += k
		}
	}
	return n
}

// tallied is a source whose objects are counted as they are read.
type tallied struct {
	pipeline.Source[record.Object]
	tally *tally
}

func (s tallied) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		for page, err := range s.Source.Pages(ctx, from) {
			for _, o := range page.Items {
				s.tally.add(o)
			}
			if !yield(page, err) {
				return
			}
		}
	}
}

// relistRows is up to how many rows a span is listed rather than halved: ten requests.
const relistRows = 1500

// recount compares what a walk has listed with Intercom's own total. Where that says something else, it halves the time
// until it knows in which spans they disagree, lists those again and returns the ids that the walk has not seen. The
// check says how many there are by the second way, and how many of those the walk had or gets now.
func (l *Live) recount(ctx context.Context, t *tally) (diff.Check, []string, error) {
	check := diff.Check{Name: t.kind.Stream() + " by Intercom's own count", Got: int64(t.listed())}
	switch {
	case t.kind == record.KindCompany:
		return check, nil, nil
	case t.kind == record.KindContact:
		total, err := l.o.Client.Count(ctx, t.kind, time0)
		check.Want = int64(total)
		if err != nil || total < 0 || check.Want == check.Got {
			return check, nil, err
		}
		return l.listAgain(ctx, t, check, []pipeline.Source[record.Object]{intercom.NewContacts(l.o.Client, intercom.StreamOptions{})})
	}
	total, err := l.o.Client.CountCreated(ctx, t.kind, 1, t.until)
	check.Want = int64(total)
	if err != nil || total < 0 || check.Want == check.Got {
		return check, nil, err
	}
	spans, err := l.short(ctx, t, t.first(), t.until/day+1, total)
	if err != nil {
		return check, nil, err
	}
	var sources []pipeline.Source[record.Object]
	for _, s := range spans {
		sources = append(sources, intercom.NewCreated(l.o.Client, t.kind, s[0], min(s[1], t.until)))
	}
	return l.listAgain(ctx, t, check, sources)
}

// first is the day of the oldest object, 0 if there is none.
func (t *tally) first() int64 {
	var first int64 = -1
	for d := range t.days {
		if first < 0 || d < first {
			first = d
		}
	}
	return max(first, 0)
}

// short returns the spans within [from, to), in days, in which Intercom's total is not what was listed; in unix seconds.
func (l *Live) short(ctx context.Context, t *tally, from, to int64, total int) ([][2]int64, error) {
	had := t.between(from, to)
	switch {
	case from == t.first(): // the first span reaches back to the beginning
		had = t.between(0, to)
	}
	if total == had {
		return nil, nil
	}
	if to-from <= 1 || max(total, had) <= relistRows {
		start := from * day
		if from == t.first() {
			start = 1
		}
		return [][2]int64{{start, to * day}}, nil
	}
	middle := (from + to) / 2
	var spans [][2]int64
	for _, half := range [][2]int64{{from, middle}, {middle, to}} {
		start := half[0] * day
		if half[0] == t.first() {
			start = 1
		}
		n, err := l.o.Client.CountCreated(ctx, t.kind, start, min(half[1]*day, t.until))
		if err != nil {
			return nil, err
		}
		found, err := l.short(ctx, t, half[0], half[1], n)
		if err != nil {
			return nil, err
		}
		spans = append(spans, found...)
	}
	return spans, nil
}

// listAgain lists what the sources have and returns the ids that were not seen before.
func (l *Live) listAgain(ctx context.Context, t *tally, check diff.Check, sources []pipeline.Source[record.Object]) (diff.Check, []string, error) {
	var missed []string
	known := map[string]bool{}
	for _, s := range sources {
		for page, err := range s.Pages(ctx, nil) {
			if err != nil {
				return check, nil, err
			}
			for _, o := range page.Items {
				if o.Gone == "" && !t.has(o.ID) && !known[o.ID] {
					known[o.ID] = true
					missed = append(missed, o.ID)
				}
			}
		}
	}
	// What was listed first and is not any more was deleted meanwhile, or lies at the edge of a span.
	told := check.Want
	check.Want = check.Got + int64(len(missed))
	check.Detail = fmt.Sprintf("Intercom's total said %d; listed again, %d were found that the first walk had not", told, len(missed))
	slices.Sort(missed)
	return check, missed, nil
}

// countCompanies reads the scroll to its end, without the stages: there is no other count.
func (l *Live) countCompanies(ctx context.Context) (int64, error) {
	t := newTally(record.KindCompany, 0)
	source, _, _, err := l.source(ctx, record.KindCompany)
	if err != nil {
		return 0, err
	}
	p := l.follow(record.KindCompany, 0)
	for page, err := range (tallied{source, t}).Pages(ctx, nil) {
		if err != nil {
			return 0, err
		}
		p.add(int64(len(page.Items)))
	}
	p.finish()
	return int64(t.listed()), nil
}
