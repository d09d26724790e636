package extract

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"haloingest/pipeline/record"
)

// maxID is the longest id in bytes that is taken. Intercom's have at most 36 characters; ids are parts
// of index keys, which PostgreSQL limits to a third of a page.
const maxID = 255

// decoder holds what the readers of one batch share. Not safe for concurrent use.
type decoder struct {
	ref    *record.Reference
	counts *tally
	tree   tree
	html   htmlReader

	kind   record.Kind
	prefix func() string // of the element that is being read, for error paths; nil at the top
	bad    *badField     // the first structural fault of the object
}

// badField is why an object is rejected as a whole.
type badField struct{ field, reason string }

// fail notes that the object cannot be read. The first fault stays.
func (d *decoder) fail(field, reason string) {
	if d.bad != nil {
		return
	}
	if d.prefix != nil {
		field = d.prefix() + strings.TrimPrefix(field, "part.") // as the fields of parts are counted
	}
	d.bad = &badField{field, reason}
}

// want notes that a structural value has the wrong type.
func (d *decoder) want(v value, field, expected string) {
	d.fail(field, fmt.Sprintf("want %s, got %s", expected, v.kind()))
}

// unmapped counts a field that says something and is mapped to nothing.
func (d *decoder) unmapped(v value) {
	if !v.empty() {
		d.counts.add("unmapped/"+string(d.kind)+"/field", '/', v.key())
	}
}

// unmappedIn counts such a field of an inner object.
func (d *decoder) unmappedIn(inner string, v value) {
	if !v.empty() {
		d.counts.add("unmapped/"+string(d.kind)+"/field/"+inner, '.', v.key())
	}
}

// odd counts a value that its field cannot hold, or an unknown member of a known set.
func (d *decoder) odd(field, shown string) {
	d.counts.add("unmapped/"+string(d.kind)+"/"+field, '=', []byte(shown))
}

// known counts s unless it is in the list or empty.
func (d *decoder) known(field, s string, list ...string) {
	if s == "" {
		return
	}
	for _, k := range list {
		if s == k {
			return
		}
	}
	d.odd(field, s)
}

// string reads a text. Numbers and booleans become their text; a list or object is a fault.
func (d *decoder) string(v value, field string) string {
	switch v.kind() {
	case absent, null:
	case text:
		return v.text()
	case number, boolean:
		return string(v.raw())
	default:
		d.want(v, field, "a string")
	}
	return ""
}

// line reads a text that is plain as a rule (titles, subjects, remarks) but has been seen as HTML: it is
// taken for that only if it begins and ends with a tag, since people do write "<" in a title.
func (d *decoder) line(v value, field string) string {
	s := strings.TrimSpace(d.string(v, field))
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") {
		return stableURLs(d.html.text(s))
	}
	return stableURLs(plainText(s))
}

// id reads the id of another object: a text or a whole number. A fraction is nobody's id, counted.
func (d *decoder) id(v value, field string) string {
	switch v.kind() {
	case absent, null:
		return ""
	case text:
		if s := strings.TrimSpace(v.text()); len(s) <= maxID {
			return s
		}
		d.odd(field, "(longer than an id)")
		return ""
	case number:
		if s := string(v.raw()); wholeNumber(s) {
			return s
		}
		d.odd(field, "(a fraction)")
		return ""
	}
	d.want(v, field, "a string or a number")
	return ""
}

// wholeNumber reports whether a JSON number can be an id: digits alone.
func wholeNumber(s string) bool {
	return len(s) <= maxID && strings.Trim(s, "0123456789") == ""
}

// assignee reads the id of an admin or team; 0 is nobody as null is (fact sheet, section 1).
func (d *decoder) assignee(v value, field string) string {
	switch v.kind() {
	case object:
		v = v.get("id")
	case list:
		if v.empty() { // no object, as PHP writes it
			return ""
		}
	}
	if s := d.id(v, field); s != "0" {
		return s
	}
	return ""
}

// bool reads a truth value, also one written as a text or number.
func (d *decoder) bool(v value, field string) bool {
	switch v.kind() {
	case absent, null:
		return false
	case boolean, text, number:
		switch s := d.string(v, field); s {
		case "true", "1", "yes":
			return true
		case "false", "0", "no", "":
			return false
		default:
			d.odd(field, s)
			return false
		}
	}
	d.want(v, field, "true or false")
	return false
}

// count reads a whole number that is not negative; a fraction is cut off. PostgreSQL's integer ends
// at 2,147,483,647: what is larger, negative or no number counts as absent.
func (d *decoder) count(v value, field string) int {
	n, ok := d.int64(v, field)
	if ok && n > math.MaxInt32 {
		d.odd(field, "(too large)")
		return 0
	}
	return int(n)
}

// int64 is count without PostgreSQL's limit.
func (d *decoder) int64(v value, field string) (int64, bool) {
	switch v.kind() {
	case absent, null:
		return 0, false
	case number, text:
		s := strings.TrimSpace(d.string(v, field))
		if s == "" {
			return 0, false
		}
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
			return n, true
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f < 1<<62 {
			return int64(f), true
		}
		d.odd(field, "(no count)")
		return 0, false
	case boolean:
		d.odd(field, "("+v.kind().String()+")")
		return 0, false
	}
	d.want(v, field, "a number")
	return 0, false
}

// list returns the elements of a list, or of the object that Intercom wraps lists in under one of the
// names given or "data". Null, absent and {} are an empty list. Anything else is a structural fault.
func (d *decoder) list(v value, field string, names ...string) value {
	switch v.kind() {
	case absent, null:
		return value{}
	case list:
		return v
	case object:
		for _, name := range append(names, "data") {
			switch inner := v.get(name); inner.kind() {
			case absent, null:
			case list:
				return inner
			default:
				d.want(inner, field+"."+name, "a list")
				return value{}
			}
		}
		return value{}
	case text:
		if v.empty() {
			return value{}
		}
	}
	d.want(v, field, "a list")
	return value{}
}

// inner returns an object, or nothing if there is none. Anything else is a structural fault.
func (d *decoder) inner(v value, field string) value {
	switch v.kind() {
	case object:
		return v
	case absent, null:
	case list:
		if !v.empty() { // an empty map, as PHP writes it
			d.want(v, field, "an object")
		}
	default:
		if !v.empty() {
			d.want(v, field, "an object")
		}
	}
	return value{}
}

// attributes reads a free map. Each value is canonical JSON; one that is nested too deep or a number
// out of range is kept as its text. With stable, what signs addresses of files is left out (see
// stableURLs), because it differs from one reading to the next.
func (d *decoder) attributes(v value, field string, stable bool) map[string]json.RawMessage {
	v = d.inner(v, field)
	if v.empty() {
		return nil
	}
	values := make(map[string]json.RawMessage, v.len())
	for it := v.each(); it.next(); {
		d.attribute(values, it.value, stable)
	}
	return values
}

func (d *decoder) attribute(values map[string]json.RawMessage, v value, stable bool) {
	key := v.key()
	d.counts.add("custom_attribute/"+string(d.kind), '/', key)
	values[string(key)] = d.canonical(v, stable)
}

// canonical returns the canonical JSON of any value.
func (d *decoder) canonical(v value, stable bool) json.RawMessage {
	switch v.kind() {
	case absent, null:
		return json.RawMessage("null")
	case boolean:
		return json.RawMessage(string(v.raw()))
	case text:
		s := v.text()
		if stable {
			s = stableURLs(s)
		}
		return record.AppendString(make([]byte, 0, len(s)+2), s)
	case number:
		if c, err := record.AppendNumber(make([]byte, 0, 12), string(v.raw())); err == nil {
			return c
		}
	default:
		if c, err := record.CanonicalJSON(v.document()); err == nil {
			if stable {
				if s := stableURLs(string(c)); len(s) != len(c) {
					c = json.RawMessage(s)
				}
			}
			return c
		}
	}
	d.counts.plain("kept_as_text/" + string(d.kind))
	return record.AppendString(nil, string(v.document()))
}

// Times. Intercom sends unix seconds; ISO 8601, milliseconds and numbers as texts occur (fact sheet,
// sections 1 and 2). Years before 1970 and after 9999 are nobody's time: absent, counted. What is no time
// at all is a fault.
const (
	lastSecond     = 253402300799 // the end of the year 9999
	firstMilli     = 100_000_000_000
	firstMicro     = firstMilli * 1000
	firstNano      = firstMicro * 1000
	secondsAbsurd  = "(absurd time)"
	microsInSecond = 1_000_000
	noTime         = "want a time, got a string that is none" // which, the reject's payload says
)

var timeLayouts = [...]string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00",
	// Of zones by name only the one that everybody means the same by.
	"2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", "2006-01-02",
	"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123Z,
}

// time reads a time, in microseconds at most. Zero is what is absent, 0 or beyond all times.
func (d *decoder) time(v value, field string) time.Time {
	switch v.kind() {
	case absent, null:
		return time.Time{}
	case number:
		return d.unix(string(v.raw()), field)
	case text:
		s := strings.TrimSpace(v.text())
		if s == "" {
			return time.Time{}
		}
		if strings.Trim(s, "0123456789.+-eE") == "" && strings.Count(s, "-") < 2 {
			return d.unix(s, field)
		}
		for _, layout := range timeLayouts {
			if at, err := time.Parse(layout, s); err == nil {
				return d.between(at.UTC().Truncate(time.Microsecond), field)
			}
		}
		if strings.HasPrefix(s, "0000-00-00") { // no date, as MySQL writes it
			d.odd(field, secondsAbsurd)
			return time.Time{}
		}
		d.fail(field, noTime)
		return time.Time{}
	}
	d.want(v, field, "a time")
	return time.Time{}
}

func (d *decoder) unix(s, field string) time.Time {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		switch {
		case n == 0:
			return time.Time{}
		case n >= firstNano:
			return d.between(time.Unix(0, n).UTC().Truncate(time.Microsecond), field)
		case n >= firstMicro:
			return d.between(time.UnixMicro(n).UTC(), field)
		case n >= firstMilli:
			return d.between(time.UnixMilli(n).UTC(), field)
		}
		return d.between(time.Unix(n, 0).UTC(), field)
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case errors.Is(err, strconv.ErrSyntax): // a text such as "2024-05"
		d.fail(field, noTime)
		return time.Time{}
	case err != nil || math.IsNaN(f) || f < 0 || f > firstNano*1000:
		d.odd(field, secondsAbsurd)
		return time.Time{}
	case f == 0:
		return time.Time{}
	}
	for f >= firstMilli {
		f /= 1000
	}
	return d.between(time.UnixMicro(int64(math.Round(f*microsInSecond))).UTC(), field)
}

func (d *decoder) between(t time.Time, field string) time.Time {
	if s := t.Unix(); s < 0 || s > lastSecond {
		d.odd(field, secondsAbsurd)
		return time.Time{}
	}
	return t
}
