package intercomtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// searchRequest is the body of the three search endpoints.
type searchRequest struct {
	Query      json.RawMessage `json:"query"`
	Pagination struct {
		PerPage       json.RawMessage `json:"per_page"`
		StartingAfter *string         `json:"starting_after"`
	} `json:"pagination"`
	Sort *struct {
		Field string `json:"field"`
		Order string `json:"order"`
	} `json:"sort"`
}

// filter is one node of a query: a group, or a comparison.
type filter struct {
	group string // AND, OR, or "" for a comparison
	subs  []filter

	name  string
	field fieldDef
	op    string
	// Comparisons of numbers and dates are intervals, closed on both sides, or
	// their complement.
	lo, hi int64
	not    bool
	nums   []int64  // IN, NIN
	strs   []string // strings are lower case
	null   bool     // compared with null
	yes    bool     // booleans
}

type searchError struct{ code, message string }

func (e *searchError) Error() string { return e.code + ": " + e.message }

func searchErrorf(code, format string, a ...any) *searchError {
	return &searchError{code, fmt.Sprintf(format, a...)}
}

// dialect is how one endpoint reads a query.
type dialect struct {
	kind      Kind
	fields    func(name string) (fieldDef, bool)
	days      *time.Location // dates are compared by days of this zone; nil is by seconds
	inclusive bool
}

const (
	maxFilters = 15
	maxNesting = 2
)

func (d *dialect) parse(raw json.RawMessage, depth int) (filter, *searchError) {
	var n struct {
		Field    *string         `json:"field"`
		Operator string          `json:"operator"`
		Value    json.RawMessage `json:"value"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &n) != nil {
		return filter{}, searchErrorf("parameter_invalid", "query must be an object with field, operator and value")
	}
	if n.Field == nil {
		return d.parseGroup(n.Operator, n.Value, depth)
	}
	def, ok := d.fields(*n.Field)
	if !ok {
		return filter{}, searchErrorf("field_not_found", "Field '%s' does not exist or cannot be searched", *n.Field)
	}
	f := filter{name: *n.Field, field: def, op: n.Operator}
	if err := d.check(&f); err != nil {
		return f, err
	}
	return f, d.value(&f, n.Value)
}

func (d *dialect) parseGroup(op string, value json.RawMessage, depth int) (filter, *searchError) {
	if op != "AND" && op != "OR" {
		return filter{}, searchErrorf("parameter_invalid", "operator '%s' is not AND or OR, and there is no field", op)
	}
	if depth >= maxNesting {
		return filter{}, searchErrorf("parameter_invalid", "filters can only be nested %d deep", maxNesting)
	}
	var subs []json.RawMessage
	if json.Unmarshal(value, &subs) != nil || len(subs) == 0 {
		return filter{}, searchErrorf("parameter_invalid", "value of %s must be a list of filters", op)
	}
	if len(subs) > maxFilters {
		return filter{}, searchErrorf("parameter_invalid", "at most %d filters per %s", maxFilters, op)
	}
	g := filter{group: op}
	for _, s := range subs {
		f, err := d.parse(s, depth+1)
		if err != nil {
			return g, err
		}
		g.subs = append(g.subs, f)
	}
	return g, nil
}

// check refuses operators that a type of field does not have.
func (d *dialect) check(f *filter) *searchError {
	var ops string
	switch f.field.typ {
	case typeString:
		ops = "= != IN NIN ~ !~ ^ $"
		if f.name == "tag_id" {
			ops = "= !="
		}
	case typeBool:
		ops = "= !="
	case typeInteger:
		ops = "= != IN NIN > <"
		if d.kind == Contacts {
			ops += " >= <="
		}
	case typeDate:
		ops = "= > < != IN NIN"
		switch {
		case d.days != nil:
			ops = "= > <"
		case d.kind == Contacts, d.kind == Tickets && f.name == "created_at":
			ops += " >= <="
		}
	}
	if !slices.Contains(strings.Fields(ops), f.op) {
		return searchErrorf("parameter_invalid", "Operator '%s' is not supported for the field '%s'", f.op, f.name)
	}
	return nil
}

func (d *dialect) value(f *filter, raw json.RawMessage) *searchError {
	mismatch := searchErrorf("type_mismatch", "The value %s does not fit the field '%s'", raw, f.name)
	if bytes.Equal(bytes.TrimSpace(raw), []byte("null")) && (f.op == "=" || f.op == "!=") {
		f.null = true
		return nil
	}
	list := []json.RawMessage{raw}
	if f.op == "IN" || f.op == "NIN" {
		if json.Unmarshal(raw, &list) != nil {
			return searchErrorf("parameter_invalid", "The value of %s must be an array", f.op)
		}
	}
	for _, v := range list {
		var any any
		if json.Unmarshal(v, &any) != nil {
			return mismatch
		}
		s := strings.TrimSpace(string(v))
		if text, ok := any.(string); ok {
			s = text
		}
		switch f.field.typ {
		case typeString:
			f.strs = append(f.strs, strings.ToLower(s))
		case typeBool:
			b, err := strconv.ParseBool(s)
			if err != nil {
				return mismatch
			}
			f.yes = b
		default:
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return mismatch
			}
			f.nums = append(f.nums, n)
		}
	}
	if f.field.typ == typeDate || f.field.typ == typeInteger {
		d.interval(f)
	}
	return nil
}

func (d *dialect) interval(f *filter) {
	if f.op == "IN" || f.op == "NIN" {
		f.not = f.op == "NIN"
		return
	}
	first, last := f.nums[0], f.nums[0]
	if f.field.typ == typeDate && d.days != nil {
		// The value is cut to its day; ">" begins with the next one.
		t := time.Unix(first, 0).In(d.days)
		day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, d.days)
		first, last = day.Unix(), day.AddDate(0, 0, 1).Unix()-1
	}
	f.lo, f.hi = math.MinInt64, math.MaxInt64
	switch f.op {
	case "=":
		f.lo, f.hi = first, last
	case "!=":
		f.lo, f.hi, f.not = first, last, true
	case ">":
		f.lo = last + 1
	case "<":
		f.hi = first - 1
	case ">=":
		f.lo = first
	case "<=":
		f.hi = last
	}
	if d.inclusive && d.days == nil {
		switch f.op {
		case ">":
			f.lo = first
		case "<":
			f.hi = last
		}
	}
}

// match evaluates the query for one object.
func (f *filter) match(r *row) bool {
	switch f.group {
	case "AND":
		for i := range f.subs {
			if !f.subs[i].match(r) {
				return false
			}
		}
		return true
	case "OR":
		for i := range f.subs {
			if f.subs[i].match(r) {
				return true
			}
		}
		return false
	}
	switch f.field.typ {
	case typeString:
		return f.matchStrings(f.field.strs(r))
	case typeBool:
		return (f.field.boolean(r) == f.yes) == (f.op == "=")
	}
	n, ok := f.field.num(r)
	switch {
	case f.null:
		return ok == (f.op == "!=")
	case !ok:
		return f.not
	case f.op == "IN" || f.op == "NIN":
		return slices.Contains(f.nums, n) != f.not
	}
	return (n >= f.lo && n <= f.hi) != f.not
}

func (f *filter) matchStrings(have []string) bool {
	if f.null {
		return (len(have) == 0) == (f.op == "=")
	}
	negative := f.op == "!=" || f.op == "NIN" || f.op == "!~"
	for _, h := range have {
		h = strings.ToLower(h)
		for _, w := range f.strs {
			hit := false
			switch f.op {
			case "=", "!=", "IN", "NIN":
				hit = h == w
			case "~", "!~":
				hit = strings.Contains(h, w)
			case "^":
				hit = strings.HasPrefix(h, w)
			case "$":
				hit = strings.HasSuffix(h, w)
			}
			if hit {
				return !negative
			}
		}
	}
	return negative
}

// bounds gives an interval of a date field outside of which nothing matches, and
// whether the query is nothing but that interval.
func (f *filter) bounds(field string) (lo, hi int64, exact bool) {
	lo, hi = math.MinInt64, math.MaxInt64
	switch f.group {
	case "AND":
		exact = true
		for i := range f.subs {
			l, h, e := f.subs[i].bounds(field)
			lo, hi, exact = max(lo, l), min(hi, h), exact && e
		}
		return lo, hi, exact
	case "OR":
		lo, hi, exact = f.subs[0].bounds(field)
		for i := range f.subs[1:] {
			l, h, e := f.subs[i+1].bounds(field)
			if l > hi && l-1 > hi || lo > h && lo-1 > h {
				e = false // a gap between the two
			}
			lo, hi, exact = min(lo, l), max(hi, h), exact && e
		}
		return lo, hi, exact
	}
	if f.name != field || f.not || f.null || f.op == "IN" {
		return lo, hi, false
	}
	return f.lo, f.hi, true
}
