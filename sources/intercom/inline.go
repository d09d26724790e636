package intercom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"haloingest/pipeline/record"
)

// Objects in lists are not whole: a contact names at most ten of its companies and tags, a ticket may
// come without its parts. This file puts in what is missing, under the same key, and leaves the
// rest of the document as it came.

// cut reports whether a list inside an object says that it is not whole.
func cut(list []byte) bool {
	held, total, more := 0, -1, false
	members(list, func(name string, value []byte) {
		switch name {
		case "data":
			held = max(0, length(value))
		case "total_count":
			var n count
			_ = n.UnmarshalJSON(value) // cannot fail
			total = int(n)
		case "has_more":
			more = string(value) == "true"
		}
	})
	return more || total > held
}

// complete returns the object with the lists filled in that Intercom cut. It makes no request for an
// object that is whole.
func (c *Client) complete(ctx context.Context, o record.Object) (record.Object, error) {
	switch o.Kind {
	case record.KindContact:
		return c.completeContact(ctx, o)
	case record.KindTicket:
		return c.completeTicket(ctx, o)
	}
	return o, nil
}

func (c *Client) completeContact(ctx context.Context, o record.Object) (record.Object, error) {
	for _, list := range []struct{ key, item string }{{"companies", "company"}, {"tags", "tag"}} {
		raw := member(o.Body, list.key)
		if !cut(raw) {
			continue
		}
		all, err := c.contactList(ctx, o.ID, list.key)
		if IsGone(err) {
			continue // deleted meanwhile; the next read of the contact will tell
		}
		if err != nil {
			return o, err
		}
		merged := mergeList(raw, all, list.item, "/"+list.key+"/")
		o.Body = spliceKey(o.Body, list.key, merged)
	}
	return o, nil
}

// contactList reads all pages of one of a contact's lists.
func (c *Client) contactList(ctx context.Context, id, key string) ([]row, error) {
	if err := checkID(record.KindContact, id); err != nil {
		return nil, err
	}
	var all []row
	seen := make(map[text]bool)
	for page := 1; ; page++ {
		k := call{
			op: "read the " + key + " of contact " + id, method: http.MethodGet,
			path: "/contacts/" + id + "/" + key, endpoint: "GET /contacts/{id}/" + key,
		}
		if key == "companies" { // tags come in one reply
			k.query = url.Values{"per_page": {"60"}, "page": {strconv.Itoa(page)}}
		}
		l, err := c.list(ctx, k)
		if err != nil {
			return nil, err
		}
		fresh := 0
		for _, r := range l.rows {
			if !seen[r.ID] {
				seen[r.ID] = true
				all = append(all, r)
				fresh++
			}
		}
		if !l.more || fresh == 0 {
			return all, nil
		}
	}
}

// mergeList returns the inline list raw with all entries: those it had as they were, the others in the
// same form of type, id and url.
func mergeList(raw []byte, all []row, item, path string) []byte {
	had := make(map[text][]byte)
	elements(member(raw, "data"), func(entry []byte) { had[headOf(entry).ID] = entry })
	var data bytes.Buffer
	data.WriteByte('[')
	for i, r := range all {
		if i > 0 {
			data.WriteByte(',')
		}
		if entry, ok := had[r.ID]; ok {
			data.Write(entry)
			continue
		}
		data.Write(record.AppendObject(nil, map[string]json.RawMessage{
			"id": record.AppendString(nil, string(r.ID)), "type": record.AppendString(nil, item),
			"url": record.AppendString(nil, path+string(r.ID)),
		}))
	}
	data.WriteByte(']')
	raw = spliceKey(raw, "data", data.Bytes())
	raw = spliceKey(raw, "total_count", strconv.AppendInt(nil, int64(len(all)), 10))
	return spliceKey(raw, "has_more", []byte("false"))
}

// spliceKey returns the JSON object doc with the value of its own key replaced and every other byte
// kept; a key that is missing is not added. Of a key that is there twice the last one counts.
func spliceKey(doc []byte, key string, value []byte) []byte {
	start, end := -1, -1
	spans(doc, func(name string, from, to int) {
		if name == key {
			start, end = from, to
		}
	})
	if start < 0 {
		return doc
	}
	out := make([]byte, 0, len(doc)-(end-start)+len(value))
	out = append(out, doc[:start]...)
	out = append(out, value...)
	return append(out, doc[end:]...)
}

// completeTicket reads a ticket singly where the row of the search lacks parts. A ticket has 500
// parts at most, so one that holds as many is left as it is.
func (c *Client) completeTicket(ctx context.Context, o record.Object) (record.Object, error) {
	if o.Request == "GET /tickets/"+o.ID {
		return o, nil
	}
	const most = 500
	held, total := -1, -1
	members(member(o.Body, "ticket_parts"), func(name string, value []byte) {
		switch name {
		case "ticket_parts":
			held = length(value)
		case "total_count":
			var n count
			_ = n.UnmarshalJSON(value) // cannot fail
			total = int(n)
		}
	})
	if held >= 0 && held >= min(total, most) {
		return o, nil
	}
	return c.read(ctx, record.KindTicket, o.ID)
}

// list makes a request for a page. A reply that is JSON but no list counts as one that cannot be read.
func (c *Client) list(ctx context.Context, k call) (listing, error) {
	for attempt := 1; ; attempt++ {
		r, err := c.do(ctx, k)
		if err != nil {
			return listing{}, err
		}
		l, err := parseListing(r)
		if err == nil {
			return l, nil
		}
		if attempt == unreadableAttempts || k.once || !errors.Is(err, errNoList) {
			return listing{}, &Error{
				Op: k.op, Method: k.method, Path: k.path, Status: http.StatusOK, Class: ClassUnreadable, Attempts: attempt,
				err: fmt.Errorf("%w", err),
			}
		}
		if err := c.opts.Clock.Sleep(ctx, c.backoff(attempt, 0)); err != nil {
			return listing{}, fmt.Errorf("%s: %w", k.op, err)
		}
	}
}
