package intercom

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// What rejects of this package are filed under. One of StageDetails was not read; one of StageLists is a row of a list that is no object,
// which is its payload, or, without a payload, an object that was asked for and not read.
const (
	StageLists   = "intercom"
	StageDetails = "details"
)

const stageName = StageLists

// text is a JSON string, or a number where Intercom sends an id as one; anything else is "".
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	*t = text(scalar(raw))
	return nil
}

// seconds is a unix time as Intercom sends it; what is none, or is out of all bounds, is 0.
type seconds int64

func (s *seconds) UnmarshalJSON(raw []byte) error {
	*s = 0
	value := scalar(raw)
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		*s = seconds(n)
	} else if f, err := strconv.ParseFloat(value, 64); err == nil && math.Abs(f) < 1<<53 {
		*s = seconds(math.Floor(f))
	}
	if *s < 0 || *s > 253402300799 { // year 9999
		*s = 0
	}
	return nil
}

func (s seconds) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}

// count is an integer; what is none is -1, and so should be the value before decoding.
type count int

func (c *count) UnmarshalJSON(raw []byte) error {
	*c = -1
	if n, err := strconv.Atoi(scalar(raw)); err == nil && n >= 0 {
		*c = count(n)
	}
	return nil
}

// head is what a source needs to know of an object.
type head struct {
	ID        text
	CreatedAt seconds
	UpdatedAt seconds
}

// headOf reads a head; it has no id if doc is no object or has none.
func headOf(doc []byte) head {
	var h head
	members(doc, func(name string, value []byte) {
		switch name { // neither UnmarshalJSON can fail
		case "id":
			_ = h.ID.UnmarshalJSON(value)
		case "created_at":
			_ = h.CreatedAt.UnmarshalJSON(value)
		case "updated_at":
			_ = h.UpdatedAt.UnmarshalJSON(value)
		}
	})
	return h
}

// row is an object of a list.
type row struct {
	head
	raw json.RawMessage
}

// listing is one page of any of Intercom's lists.
type listing struct {
	rows   []row
	bad    []json.RawMessage // rows that are no object with an id
	total  int               // -1 if not told
	next   string            // cursor of the next page, "" at the end
	more   bool              // page-numbered lists: there is a next page
	scroll string
	at     time.Time
}

var errNoList = errors.New("the answer holds no list")

// parseListing reads a page. Intercom names the array by kind, or "data"; one that is null has no rows.
func parseListing(r reply) (listing, error) {
	l := listing{total: -1, at: r.at}
	found := false
	members(r.body, func(name string, value []byte) {
		switch name {
		case "data", "conversations", "tickets", "contacts", "companies":
			found = true
			elements(value, func(raw []byte) {
				entry := row{head: headOf(raw), raw: raw}
				if entry.ID == "" {
					l.bad = append(l.bad, raw)
					return
				}
				l.rows = append(l.rows, entry)
			})
		case "total_count":
			var n count
			_ = n.UnmarshalJSON(value) // cannot fail
			l.total = int(n)
		case "pages":
			l.next, l.more = nextOf(value)
		case "scroll_param":
			l.scroll = scalar(value)
		}
	})
	if !found {
		return listing{}, errNoList
	}
	return l, nil
}

// nextOf reads pages.next, which is an object with a cursor, an URL, or null.
func nextOf(pages []byte) (cursor string, more bool) {
	next := member(pages, "next")
	if len(next) == 0 {
		return "", false
	}
	switch next[0] {
	case '{':
		cursor = scalar(member(next, "starting_after"))
		return cursor, cursor != ""
	case '"':
		return "", scalar(next) != ""
	}
	return "", false
}

// object makes a row an Object.
func (c *Client) object(kind record.Kind, r row, at time.Time, request string) record.Object {
	return record.Object{
		Kind: kind, ID: string(r.ID), Body: r.raw, FetchedAt: at, Request: request, APIVersion: c.version,
	}
}

// rejectRows files rows that cannot even be named.
func rejectRows(kind record.Kind, bad []json.RawMessage) []pipeline.Reject {
	var rejects []pipeline.Reject
	for _, raw := range bad {
		rejects = append(rejects, pipeline.Reject{
			Stage: stageName, Kind: string(kind), Field: "id", Reason: "the row is no object with an id", Payload: raw,
		})
	}
	return rejects
}

// checkID keeps what is no id out of a request's path: ids come from webhooks, too.
func checkID(kind record.Kind, id string) error {
	ok := id != "" && len(id) <= 128 && !slices.ContainsFunc([]byte(id), func(b byte) bool {
		return !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_')
	})
	if ok {
		return nil
	}
	return &Error{
		Op: "read " + string(kind), Method: http.MethodGet, Path: "/" + kind.Stream(), Class: ClassRequest,
		err: fmt.Errorf("%q is no Intercom id", plain(id, 80)),
	}
}

// cursorVersion is the first byte of every cursor; the rest is a JSON document.
const cursorVersion = 1

func encodeCursor(v any) pipeline.Cursor {
	doc, err := json.Marshal(v)
	if err != nil {
		panic("intercom: a cursor cannot be encoded: " + err.Error()) // they are plain structs
	}
	return append(pipeline.Cursor{cursorVersion}, doc...)
}

// decodeCursor fills v from a cursor of the named stream; a nil cursor leaves v alone.
func decodeCursor(stream string, from pipeline.Cursor, v any) error {
	if len(from) == 0 {
		return nil
	}
	if from[0] != cursorVersion {
		return fmt.Errorf("resume %s: the stored position has version %d, this program knows %d; start the stream again (--restart)",
			stream, from[0], cursorVersion)
	}
	d := json.NewDecoder(bytes.NewReader(from[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("resume %s: the stored position cannot be read; start the stream again (--restart): %w", stream, err)
	}
	return nil
}
