package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/compare"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sinks/diff"
	"haloingest/sinks/parquet"
	"haloingest/sinks/parquet/bucket"
	"haloingest/sources/halo"
	"haloingest/sources/intercom"
	"haloingest/sources/snapshot"
)

// sides are both sides of a diff, open.
type sides struct {
	left, right diff.Side
	live        *compare.Live // nil: Intercom is neither
	id          record.UUID
	watermark   time.Time
	without     []string           // entities that are not compared
	refused     map[string]refusal // those of them that the token may not read
	notes       []string
	closers     []func() error
}

// refusal is why something cannot be read: for a sentence, and as Intercom says it.
type refusal struct{ short, whole string }

func (s *sides) close() error {
	var err error
	for _, f := range slices.Backward(s.closers) {
		err = errors.Join(err, f())
	}
	return err
}

func newDiffID() (id record.UUID) {
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// openSides opens what the operands name.
func (a *app) openSides(c *cli.Context, ws *workspace, r diffRequest) (_ *sides, err error) {
	s := &sides{id: newDiffID(), refused: map[string]refusal{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	for i, name := range []string{r.left, r.right} {
		var side diff.Side
		switch {
		case name == sideIntercom:
			side, err = a.openLive(c, ws, r, s)
		case name == sidePostgres:
			side, err = s.openDatabase(c, ws, r)
		default:
			side, err = s.openSnapshot(a, c, ws, r, name)
		}
		if err != nil {
			return nil, err
		}
		if i == 0 {
			s.left = side
		} else {
			s.right = side
		}
	}
	return s, nil
}

// openLive connects to the workspace and finds out what the token may read.
func (a *app) openLive(c *cli.Context, ws *workspace, r diffRequest, s *sides) (diff.Side, error) {
	runner, err := a.runner(c, ws)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { runner.Client.Close(); return nil })
	access, err := runner.Client.Check(c.Context)
	if err != nil {
		return nil, err
	}
	if err := s.refuse(access); err != nil {
		return nil, err
	}
	if r.level != diff.LevelFull && !slices.Contains(s.without, "knowledge") {
		s.without = append(s.without, "knowledge") // it is made of whole conversations
	}
	now, err := runner.Client.ServerTime(c.Context)
	if err != nil {
		return nil, err
	}
	s.watermark = now.Add(-time.Second) // changes are dated by full seconds, and what happens in this one is after it
	o, err := a.liveOptions(c, ws, runner)
	if err != nil {
		return nil, err
	}
	o.ListMessages = r.left == sidePostgres || r.right == sidePostgres
	done, err := a.keep(c, ws, runner)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { done(); return nil })
	o.Keep = compare.Keep{Store: runner.Snapshot.Store, Seal: runner.Snapshot.Seal, Program: runner.Snapshot.Program, Run: s.id}
	s.live = compare.NewLive(o)
	s.closers = append(s.closers, s.live.Close)
	if r.level == diff.LevelFast {
		s.notes = append(s.notes, "Conversations were listed and not read: of them versions and numbers of messages were compared, not what was said, and not their knowledge.")
	}
	if r.level == diff.LevelCount {
		return compare.Counted{Live: s.live}, nil
	}
	return s.live, nil
}

// refuse leaves out what the token may not read. Conversations that are tickets are hidden from one that may not read tickets
// (fact sheet, section 2.3), so then nothing can be said of conversations either.
func (s *sides) refuse(access intercom.Access) error {
	for _, kind := range access.Missing {
		streams := []string{kind.Stream()}
		why := refusal{fmt.Sprintf("the token may not read %s", kind.Stream()), access.Reasons[kind].Error()}
		if kind == record.KindTicket {
			streams = append(streams, record.KindConversation.Stream())
			why.short += ", so conversations that are tickets are hidden from it"
		}
		list, err := diff.EntitiesOf(streams)
		if err != nil {
			return err
		}
		for _, entity := range list {
			if _, known := s.refused[entity]; !known {
				s.without = append(s.without, entity)
				s.refused[entity] = why
			}
		}
	}
	return nil
}

// liveOptions are how the workspace is read: as a backfill of the runner would.
func (a *app) liveOptions(c *cli.Context, ws *workspace, runner *ingest.Runner) (compare.Options, error) {
	rules, err := ingest.Rules(c.Context, ws.DB, ws.org)
	return compare.Options{
		Client: runner.Client, Connection: runner.Connection, Log: runner.Log, Concurrency: ws.cfg.Concurrency,
		Rules: rules, Distiller: runner.Distiller,
	}, err
}

// openDatabase begins to read the database.
func (s *sides) openDatabase(c *cli.Context, ws *workspace, r diffRequest) (diff.Side, error) {
	side, err := halo.Open(c.Context, ws.Pool(), ws.org)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { return side.Close(c.Context) })
	if r.level == diff.LevelFast && (r.left == sideIntercom || r.right == sideIntercom) {
		return compare.ListedDatabase{Side: side, Pool: ws.Pool(), Org: ws.org}, nil
	}
	return side, nil
}

// judge gives the report what only this program knows: what was counted a second way at Intercom, and what the token may not
// read. It says the verdict anew.
func (s *sides) judge(r *diff.Report, err error) {
	r.Notes = append(r.Notes, s.notes...)
	var open []string
	if s.live != nil {
		for _, c := range s.live.Checks() {
			r.Checks = append(r.Checks, c)
			if c.Want != c.Got {
				open = append(open, fmt.Sprintf("%s: %d of %d", c.Name, c.Got, c.Want))
			}
		}
	}
	streams := map[string]bool{}
	for entity, why := range s.refused {
		wanted, _ := diff.EntitiesOf(r.Only) // it has been checked
		if slices.Contains(wanted, entity) && !streams[why.short] {
			streams[why.short] = true
			open = append(open, why.short)
			r.Notes = append(r.Notes, "Not verified: "+why.short+" ("+why.whole+").")
		}
	}
	slices.Sort(open)
	if err != nil && !errors.Is(err, diff.ErrConservation) {
		r.Verdict = diff.VerdictPartial
		if !errors.Is(err, diff.ErrPartial) {
			r.Notes = append(r.Notes, "The comparison did not come to its end: "+errorLine(err))
		}
	}
	if len(open) == 0 {
		return
	}
	text := "not verified: " + strings.Join(open, "; ")
	if r.Verdict == diff.VerdictEqual {
		head := "NOT VERIFIED"
		if strings.HasPrefix(r.Sentence, "SAFE") {
			head = "NOT SAFE"
		}
		r.Verdict, r.Sentence = diff.VerdictUnverified, head+": "+text+"; the rest is equal"
		return
	}
	r.Sentence += "; " + text
}

// openSnapshot opens the runs of a snapshot that are this organisation's.
func (s *sides) openSnapshot(a *app, c *cli.Context, ws *workspace, r diffRequest, name string) (diff.Side, error) {
	o, err := a.snapshotOptions(c, ws.cfg)
	if err != nil {
		return nil, err
	}
	o.Org, o.Layers = ws.org, []string{parquet.LayerRows}
	store, err := bucket.Open(c.Context, strings.TrimPrefix(name, sideSnapshot))
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, store.Close)
	snap, err := snapshot.Open(c.Context, store, o)
	if err != nil {
		return nil, err
	}
	side := compare.NewSnapshot(sideSnapshot+snap.Location(), snap, "")
	s.closers = append(s.closers, side.Close)
	if r.level == diff.LevelFast && (r.left == sideIntercom || r.right == sideIntercom) {
		return compare.ListedSnapshot{Snapshot: side}, nil
	}
	return side, nil
}
