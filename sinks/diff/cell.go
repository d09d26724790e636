package diff

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

func splitTrim(s, sep string) []string {
	var list []string
	for part := range strings.SplitSeq(s, sep) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// teller writes values for people.
type teller struct {
	show bool
	key  []byte // of the hashes that stand for values
}

// shownBytes is how much of a value is shown.
const shownBytes = 2000

func (t teller) value(v Value, kind ColumnKind) string {
	if !v.Valid {
		return "NULL"
	}
	if !t.show {
		return t.redacted(v, kind)
	}
	s := v.Text
	if us, err := strconv.ParseInt(s, 10, 64); kind == TimeColumn && err == nil {
		return time.UnixMicro(us).UTC().Format(time.RFC3339Nano)
	}
	if len(s) <= shownBytes {
		return s
	}
	n := shownBytes
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes in all)", s[:n], len(s))
}

func (t teller) redacted(v Value, kind ColumnKind) string {
	mac := hmac.New(sha256.New, t.key)
	mac.Write([]byte(v.Text))
	sum := hex.EncodeToString(mac.Sum(nil)[:4])
	switch kind {
	case TimeColumn:
		return "time, " + sum
	case IntColumn:
		return "number, " + sum
	case BoolColumn:
		return "boolean, " + sum
	case JSONColumn:
		return fmt.Sprintf("JSON of %d bytes, %s", len(v.Text), sum)
	case ListColumn:
		return fmt.Sprintf("list of %d bytes, %s", len(v.Text), sum)
	case UUIDColumn:
		return "id, " + sum
	case HashColumn:
		return "hash, " + sum
	}
	return fmt.Sprintf("text of %d characters, %s", utf8.RuneCountInString(v.Text), sum)
}

// cell describes a column that differs.
func (t teller) cell(spec ColumnSpec, l, r Value) Cell {
	c := Cell{Column: spec.Name, Left: t.value(l, spec.Kind), Right: t.value(r, spec.Kind)}
	if spec.Kind == JSONColumn && l.Valid && r.Valid {
		c.Path = t.path(l.Text, r.Text)
	}
	return c
}

// link describes a link that is not what the identity map says.
func (t teller) link(l Link) Cell {
	v := func(s string) Value { return Value{s != "", s} }
	return Cell{Column: l.Column, Left: t.value(v(l.Want), UUIDColumn), Right: t.value(v(l.Have), UUIDColumn)}
}

// path is where the first difference of two documents is. Keys are shown only if values are: a custom attribute's name can be
// somebody's.
func (t teller) path(l, r string) string {
	decode := func(s string) (v any, ok bool) {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		return v, d.Decode(&v) == nil
	}
	lv, ok := decode(l)
	rv, too := decode(r)
	if !ok || !too {
		return ""
	}
	var b bytes.Buffer
	t.walk(&b, lv, rv)
	return b.String()
}

func (t teller) walk(b *bytes.Buffer, l, r any) {
	switch lv := l.(type) {
	case map[string]any:
		rv, ok := r.(map[string]any)
		if !ok {
			return
		}
		var keys []string
		for k := range lv {
			keys = append(keys, k)
		}
		for k := range rv {
			if _, both := lv[k]; !both {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			a, here := lv[k]
			c, there := rv[k]
			if here && there && same(a, c) {
				continue
			}
			name := k
			if !t.show && !publicKeys[k] && !strings.HasPrefix(k, ownPrefix) {
				name = "(a key)"
			}
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(name)
			if here && there {
				t.walk(b, a, c)
			}
			return
		}
	case []any:
		rv, ok := r.([]any)
		if !ok {
			return
		}
		for i := range max(len(lv), len(rv)) {
			if i < len(lv) && i < len(rv) && same(lv[i], rv[i]) {
				continue
			}
			fmt.Fprintf(b, "[%d]", i)
			if i < len(lv) && i < len(rv) {
				t.walk(b, lv[i], rv[i])
			}
			return
		}
	}
}

// publicKeys are keys that this program gives.
var publicKeys = func() map[string]bool {
	m := make(map[string]bool)
	for _, k := range strings.Fields(`id speaker text html at author_id author_name kind attachments content_type height name size url width label type
		value source state title channel priority assignee team company tags contacts rating score remark`) {
		m[k] = true
	}
	return m
}()

func same(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}
