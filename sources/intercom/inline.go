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

// inlineList is a list inside an object.
type inlineList struct {
	Data    rowList `json:"data"`
	Total   *count  `json:"total_count"`
	HasMore bool    `json:"has_more"`
}

// cut reports whether the list says that it is not whole.
func (l inlineList) cut() bool {
	return l.HasMore || l.Total != nil && int(*l.Total) > len(l.Data)
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
	var doc struct {
		Companies json.RawMessage `json:"companies"`
		Tags      json.RawMessage `json:"tags"`
	}
	if json.Unmarshal(o.Body, &doc) != nil {
		return o, nil // extract will say what is wrong with it
	}
	for _, list := range []struct {
		key, item string
		raw       json.RawMessage
	}{{"companies", "company", doc.Companies}, {"tags", "tag", doc.Tags}} {
		var inline inlineList
		if json.Unmarshal(list.raw, &inline) != nil || !inline.cut() {
			continue
		}
		all, err := c.contactList(ctx, o.ID, list.key)
		if IsGone(err) {
			continue // deleted meanwhile; the next read of the contact will tell
		}
		if err != nil {
			return o, err
		}
		merged := mergeList(list.raw, inline.Data, all, list.item, "/"+list.key+"/")
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
func mergeList(raw json.RawMessage, held rowList, all []row, item, path string) json.RawMessage {
	had := make(map[text]json.RawMessage, len(held))
	for _, entry := range held {
		var h head
		if json.Unmarshal(entry, &h) == nil {
			had[h.ID] = entry
		}
	}
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
	d := json.NewDecoder(bytes.NewReader(doc))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return doc
	}
	start, end := -1, -1
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return doc
		}
		var old json.RawMessage
		if d.Decode(&old) != nil {
			return doc
		}
		if name == key {
			end = int(d.InputOffset())
			start = end - len(old)
		}
	}
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
	var doc struct {
		Parts *struct {
			Parts rowList `json:"ticket_parts"`
			Total *count  `json:"total_count"`
		} `json:"ticket_parts"`
	}
	if json.Unmarshal(o.Body, &doc) != nil {
		return o, nil
	}
	const most = 500
	if p := doc.Parts; p != nil && (p.Total == nil && p.Parts != nil || p.Total != nil && len(p.Parts) >= min(int(*p.Total), most)) {
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
