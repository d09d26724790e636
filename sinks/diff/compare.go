package diff

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// run is one diff under way.
type run struct {
	o         Options
	sides     [2]Side
	moves     bool
	watermark time.Time
	salt      salt
	teller    teller
	report    *Report
	table     table
}

// Compare compares two sides. It returns a report also with an error, which then is of what was compared until then:
//
//   - ErrPartial, wrapping the context's cause, if ctx ended; the verdict is VerdictPartial;
//   - ErrConservation if the totals do not add up; the verdict is VerdictBroken;
//   - ErrSpill if intermediate files fail, or what a side or Findings returned; the verdict is VerdictPartial.
//
// Both sides are read at once, each by one goroutine. The files that it makes are gone when it returns.
func Compare(ctx context.Context, leftSide, rightSide Side, o Options) (Report, error) {
	o = o.withDefaults()
	entities, err := o.entities()
	if err != nil {
		return Report{}, err
	}
	d := &run{o: o, sides: [2]Side{leftSide, rightSide}, moves: leftSide.Moves() || rightSide.Moves(), watermark: o.Now(), salt: salt(o.Org)}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	d.teller = teller{show: o.ShowValues, key: key}
	if o.ID.IsZero() {
		_, _ = rand.Read(o.ID[:])
		o.ID[6], o.ID[8] = o.ID[6]&0x0f|0x40, o.ID[8]&0x3f|0x80
	}
	if !o.Watermark.IsZero() {
		d.watermark = o.Watermark
	}
	d.report = &Report{Version: ReportVersion, ID: o.ID, Org: o.Org, Left: leftSide.Name(), Right: rightSide.Name(), Level: o.Level, Only: o.Only,
		Watermark: d.watermark, StartedAt: o.Now(), ShowValues: o.ShowValues, Entities: []Entity{}}
	for _, entity := range entities {
		if err = d.entity(ctx, entity); err != nil {
			break
		}
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ErrPartial, context.Cause(ctx))
	}
	d.finish(err)
	return *d.report, err
}

func (o *Options) entities() ([]string, error) {
	list, err := EntitiesOf(o.Only)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]Level{LevelCount, LevelFast, LevelFull}, o.Level) {
		return nil, fmt.Errorf("there is no level %q: want count, fast or full", o.Level)
	}
	return slices.DeleteFunc(slices.Clone(list), func(e string) bool { return slices.Contains(o.Without, e) }), nil
}

// entity compares one entity and adds its result to the report.
func (d *run) entity(ctx context.Context, entity string) (err error) {
	began := d.o.Now()
	t := newTallied(entity, d.o.Level)
	for _, side := range d.sides {
		if l, ok := side.(Lister); ok && d.o.Level == LevelFast {
			if listed := l.Listed(entity); listed != nil {
				t.covered = listed
			}
		}
	}
	if d.o.Level == LevelCount {
		err = d.count(ctx, t)
	} else {
		err = d.join(ctx, t)
	}
	e := t.finish()
	e.Elapsed = d.o.Now().Sub(began)
	e.Partial = err != nil
	if err == nil && d.o.Level != LevelCount {
		err = e.check()
	}
	d.report.Entities = append(d.report.Entities, e)
	if err != nil && !errors.Is(err, ErrConservation) {
		return fmt.Errorf("compare %s: %w", entity, err)
	}
	return err
}

// holder is a side that holds its fingerprints already.
type holder interface{ hold(entity string) *store }

// join reads both sides of an entity and compares what they yield.
func (d *run) join(ctx context.Context, t *tallied) (err error) {
	entity := t.Name
	var stores [2]*store
	for i, side := range d.sides {
		if h, ok := side.(holder); ok {
			stores[i] = h.hold(entity)
			continue
		}
		stores[i] = newStore(d.salt, d.o.Memory/2, d.o.TempDir)
		defer func() {
			if e := stores[i].close(); err == nil {
				err = e
			}
		}()
	}
	err = pipeline.ForEach(ctx, 2, 2, func(ctx context.Context, i int) error {
		if _, held := d.sides[i].(holder); held {
			return nil
		}
		return d.read(ctx, i, entity, stores[i])
	})
	t.Left, t.Right = stores[left].tally, stores[right].tally
	if err != nil {
		return err
	}
	d.report.PeakSpill = max(d.report.PeakSpill, stores[left].peak+stores[right].peak)
	c := &checker{run: d, entity: entity, asof: stores[left].newest, result: t}
	d.table.sums, d.table.tally = entity == "knowledge", [2]*Tally{&t.Left, &t.Right}
	for part := range partitions {
		err := d.table.joined(part, stores, d.o.Memory, func(e *entry) error { return c.entry(ctx, e) })
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		stores[left].drop(part)
		stores[right].drop(part)
		d.o.Progress(Progress{Entity: entity, Phase: "compare", Done: max(t.Counts.Source, t.Counts.Target)})
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	return d.countAgain(ctx, t)
}

// entry sorts out what is equal, and what is on neither side.
func (c *checker) entry(ctx context.Context, e *entry) error {
	l, r := &e.side[left], &e.side[right]
	t := c.result
	for i, tally := range [2]*Tally{&t.Left, &t.Right} {
		switch h := &e.side[i]; {
		case !h.here || h.live():
		case h.state.Live():
			tally.Empty++
		default:
			tally.Gone++
		}
	}
	switch {
	case !l.live() && !r.live():
		return nil
	case !l.live() || !r.live() || l.hash != r.hash || l.count != r.count || l.doubtful || r.doubtful || l.state != record.FingerprintLive:
	case r.state == record.FingerprintLive:
		t.matched(int64(l.count))
		return nil
	case r.state == record.FingerprintShared && c.o.Level == LevelFast:
		t.matched(int64(l.count))
		t.Counts.ByRule++
		return nil
	}
	return c.suspect(ctx, e, c.table.name(e))
}

// read takes in all fingerprints of a side.
func (d *run) read(ctx context.Context, side int, entity string, s *store) error {
	told := int64(0)
	for batch, err := range d.sides[side].Fingerprints(ctx, entity, d.o.Level) {
		if err != nil {
			return fmt.Errorf("read %s: %w", d.sides[side].Name(), err)
		}
		if err := s.add(batch); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.tally.Read-told >= progressStep {
			told = s.tally.Read
			d.o.Progress(Progress{Entity: entity, Phase: phases[side], Done: told})
		}
	}
	return ctx.Err()
}

const progressStep = 10_000

var phases = [2]string{"left", "right"}

// countAgain asks each side that can for its own count, which must be that of the objects that were read.
func (d *run) countAgain(ctx context.Context, t *tallied) error {
	for i, side := range d.sides {
		counter, ok := side.(Counter)
		if !ok {
			continue
		}
		want, exact, err := counter.Count(ctx, t.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", side.Name(), err)
		}
		if !exact {
			continue
		}
		got := t.Counts.Source
		if i == right {
			got = t.Counts.Target
		}
		d.report.Checks = append(d.report.Checks, Check{Name: fmt.Sprintf("%s of %s, counted by itself", t.Name, side.Name()), Want: want, Got: got})
		if want != got {
			return fmt.Errorf("%w: %s has %d %s by its own count, and %d were read", ErrConservation, side.Name(), want, t.Name, got)
		}
	}
	return nil
}

// count compares totals only.
func (d *run) count(ctx context.Context, t *tallied) error {
	var totals [2]int64
	err := pipeline.ForEach(ctx, 2, 2, func(ctx context.Context, i int) (err error) {
		if counter, ok := d.sides[i].(Counter); ok {
			totals[i], _, err = counter.Count(ctx, t.Name)
			return err
		}
		s, held := newStore(d.salt, d.o.Memory/2, d.o.TempDir), false
		if h, ok := d.sides[i].(holder); ok {
			s, held = h.hold(t.Name), true
		} else if err := d.read(ctx, i, t.Name, s); err != nil {
			return errors.Join(err, s.close())
		}
		totals[i], err = s.live(t.Name == "knowledge")
		if !held {
			err = errors.Join(err, s.close())
		}
		return err
	})
	if err != nil {
		return err
	}
	c := &t.Counts
	c.Source, c.Target = totals[left], totals[right]
	c.Matched = min(c.Source, c.Target)
	c.Missing, c.Extra = c.Source-c.Matched, c.Target-c.Matched
	return nil
}

// live counts the objects of a store that are there.
func (s *store) live(sums bool) (n int64, err error) {
	var tally Tally
	t := table{sums: sums, tally: [2]*Tally{&tally, &tally}}
	nobody := &store{}
	for part := range partitions {
		err := t.joined(part, [2]*store{s, nobody}, s.limit, func(e *entry) error {
			if e.side[left].live() {
				n++
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}
