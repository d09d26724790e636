package diff

import (
	"slices"
	"strings"
)

// fault is what is wrong with one row of an object that differs.
type fault struct {
	row   string // of knowledge: which
	cause string // of knowledge: what, where it is not a cell
	cells []Cell
}

// compare explains the difference of an object that is there on both sides. rules are those by which cells are equal that are not the same.
func (c *checker) compare(lo, ro *Object) (faults []fault, rules map[string]bool) {
	rules = make(map[string]bool)
	walkRows(c.entity, lo, ro, func(l, r *Row, p *pair) {
		f := fault{}
		if c.entity == "knowledge" {
			f.row = rowOf(l, r).ID.String()
		}
		switch {
		case p == nil && r == nil:
			f.cause = "the row is missing"
		case p == nil:
			f.cause = "the row is extra"
		default:
			for i := range p.specs {
				equal, rule := p.judge(i)
				switch {
				case !equal:
					f.cells = append(f.cells, c.teller.cell(p.specs[i], p.l[i], p.r[i]))
				case rule != "":
					rules[rule] = true
				}
			}
		}
		if r != nil && l != nil {
			for _, link := range links(lo, ro) {
				if link.Want != link.Have && (c.entity != "knowledge" || link.RowID == r.ID) {
					f.cells = append(f.cells, c.teller.link(link))
				}
			}
		}
		if f.cause != "" || len(f.cells) > 0 {
			faults = append(faults, f)
		}
	})
	return faults, rules
}

// links are those of the side that has any.
func links(lo, ro *Object) []Link {
	if ro.Links == nil {
		return lo.Links
	}
	return ro.Links
}

func rowOf(l, r *Row) *Row {
	if l != nil {
		return l
	}
	return r
}

// walkRows goes through the rows of an object on both sides: the one that it has, or of knowledge those of the same id. p is nil where
// only one side has the row.
func walkRows(entity string, lo, ro *Object, f func(l, r *Row, p *pair)) {
	ls, rs := lo.rows(entity), ro.rows(entity)
	if entity != "knowledge" {
		if len(ls) == 1 && len(rs) == 1 {
			f(&ls[0], &rs[0], newPair(entity, lo, ro, ls[0].Values, rs[0].Values))
		}
		return
	}
	for i := range ls {
		at := slices.IndexFunc(rs, func(r Row) bool { return r.ID == ls[i].ID })
		if at < 0 {
			f(&ls[i], nil, nil)
			continue
		}
		f(&ls[i], &rs[at], newPair(entity, lo, ro, ls[i].Values, rs[at].Values))
	}
	for i := range rs {
		if !slices.ContainsFunc(ls, func(l Row) bool { return l.ID == rs[i].ID }) {
			f(nil, &rs[i], nil)
		}
	}
}

func isStray(id string) bool { return strings.HasPrefix(id, StrayPrefix) }

// strayID is the object that a stray row claims to be.
func strayID(entity string, o *Object) string {
	for i, spec := range tables[entity].values {
		if spec.Name == "source_id" {
			return o.Rows[0].Values[i].Text
		}
	}
	return o.SourceID
}
