package diff

import (
	"bytes"
	"fmt"
	"slices"
)

// samples is how many findings of a class are shown.
const samples = 20

// tallied is the result of one entity while it is made.
type tallied struct {
	Entity
	matchedRows int64    // rows of objects that were equal by their hashes
	covered     []string // columns that those hashes cover; nil: all
	columns     []Column
	index       map[string]int
	links       map[string]bool
	sampled     map[Class][]keyed
}

type keyed struct {
	key digest
	f   Finding
}

func newTallied(entity string, level Level) *tallied {
	t := &tallied{index: make(map[string]int), links: make(map[string]bool), sampled: make(map[Class][]keyed)}
	t.Name = entity
	t.Counts.Rejected, t.Counts.Excluded = make(map[string]int64), make(map[string]int64)
	t.Counts.RejectedTarget, t.Counts.ExcludedTarget = make(map[string]int64), make(map[string]int64)
	if level == LevelCount {
		t.columns = []Column{}
		return t
	}
	if level == LevelFast {
		t.covered = []string{"content_hash"}
	}
	x := tables[entity]
	add := func(name, why string) {
		t.index[name] = len(t.columns)
		t.columns = append(t.columns, Column{Name: name, EqualByRule: make(map[string]int64), NotCompared: why})
	}
	for _, spec := range x.values {
		add(spec.Name, "")
	}
	for _, name := range x.links {
		why := ""
		if level == LevelFast {
			why = "level fast compares stored hashes, which do not cover it"
		}
		add(name, why)
		t.links[name] = true
	}
	for _, s := range x.skipped {
		add(s.Name, s.Why)
	}
	return t
}

// count adds an object that is settled. l and r say on which sides it was when they were read.
func (t *tallied) count(j judgement, l, r, byRule bool) {
	c := &t.Counts
	if l {
		c.Source++
	}
	if r {
		c.Target++
	}
	one := func(there bool) int64 {
		if there {
			return 1
		}
		return 0
	}
	switch {
	case j.converged:
		c.Converged++
	case j.class == InFlight, j.class == Unresolved:
		c.Unverified++
	}
	switch j.class {
	case "":
		c.Matched++
		c.ByRule += one(byRule)
	case Changed:
		c.Changed++
	case Missing:
		c.Missing++
	case Extra:
		c.Extra++
	case Rejected:
		byReason := c.Rejected
		if r {
			byReason = c.RejectedTarget
		}
		byReason[j.reason]++
	case Excluded:
		byRule := c.Excluded
		if r {
			byRule = c.ExcludedTarget
		}
		byRule[j.reason]++
	case InFlight:
		c.InFlight += one(l)
		c.InFlightTarget += one(r)
	case Unresolved:
		c.Unresolved += one(l)
		c.UnresolvedTarget += one(r)
	}
}

// cells counts the columns of an object that was looked at.
func (t *tallied) cells(entity string, lo, ro *Object, level Level) {
	if lo == nil || ro == nil {
		return
	}
	walkRows(entity, lo, ro, func(l, r *Row, p *pair) {
		if p == nil {
			return
		}
		for i := range p.specs {
			col := &t.columns[t.index[p.specs[i].Name]]
			col.Compared++
			switch equal, rule := p.judge(i); {
			case !equal:
				col.Different++
			case rule != "":
				col.EqualByRule[rule]++
			default:
				col.Equal++
			}
		}
		for name := range t.links {
			col := &t.columns[t.index[name]]
			if level == LevelFast {
				continue
			}
			col.Compared++
			wrong := slices.ContainsFunc(links(lo, ro), func(k Link) bool {
				return k.Column == name && k.Want != k.Have && (entity != "knowledge" || k.RowID == r.ID)
			})
			if wrong {
				col.Different++
			} else {
				col.Equal++
			}
		}
	})
}

// matched counts an object whose fingerprints are equal, with so many rows.
func (t *tallied) matched(rows int64) {
	t.Counts.Source++
	t.Counts.Target++
	t.Counts.Matched++
	t.matchedRows += rows
}

func (t *tallied) sample(f Finding, key digest) {
	list := t.sampled[f.Class]
	if len(list) == samples && bytes.Compare(key[:], list[samples-1].key[:]) >= 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(list, key, func(k keyed, key digest) int { return bytes.Compare(k.key[:], key[:]) })
	list = slices.Insert(list, at, keyed{key, f})
	t.sampled[f.Class] = list[:min(len(list), samples)]
}

// finish makes the entity's result.
func (t *tallied) finish() Entity {
	for i := range t.columns {
		col := &t.columns[i]
		if col.NotCompared == "" && (t.covered == nil || slices.Contains(t.covered, col.Name)) {
			col.Compared += t.matchedRows
			col.Equal += t.matchedRows
		}
	}
	t.matchedRows = 0
	t.Columns = t.columns
	t.Samples = nil
	for _, class := range []Class{Missing, Extra, Changed, InFlight, Unresolved, Rejected, Excluded} {
		for _, k := range t.sampled[class] {
			t.Samples = append(t.Samples, k.f)
		}
	}
	return t.Entity
}

// classes are the sums of both sides of the law.
func (c *Counts) classes() (source, target int64) {
	source = c.Matched + c.Changed + c.Missing + c.InFlight + c.Unresolved + total(c.Rejected) + total(c.Excluded)
	target = c.Matched + c.Changed + c.Extra + c.InFlightTarget + c.UnresolvedTarget + total(c.RejectedTarget) + total(c.ExcludedTarget)
	return source, target
}

func total(counts map[string]int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// check enforces the law of conservation; nil if it holds.
func (e *Entity) check() error {
	source, target := e.Counts.classes()
	for _, side := range []struct {
		name       string
		tally      Tally
		sum, count int64
	}{{"source", e.Left, source, e.Counts.Source}, {"target", e.Right, target, e.Counts.Target}} {
		read := side.tally.Read - side.tally.Folded - side.tally.Superseded - side.tally.Gone - side.tally.Marks - side.tally.Empty
		if read != side.sum || side.count != side.sum {
			return fmt.Errorf("%w: %s, %s: %d objects were read, %d were compared, and the classes add up to %d",
				ErrConservation, e.Name, side.name, read, side.count, side.sum)
		}
	}
	return nil
}
