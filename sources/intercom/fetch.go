package intercom

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"haloingest/pipeline/record"
)

// maxHops is how many merges are followed from a merged contact to the one that survives.
const maxHops = 3

// Fetch reads one object as it is now, whole: a conversation with its parts, a contact with all of
// its companies and tags. What does not exist (any more) is no error but an Object with Gone set; a
// contact that was merged names the one that survives. Errors are *Error.
func (c *Client) Fetch(ctx context.Context, kind record.Kind, id string) (record.Object, error) {
	o, err := c.read(ctx, kind, id)
	if err != nil || o.Gone != "" {
		return o, err
	}
	return c.complete(ctx, o)
}

// read makes the one request for an object.
func (c *Client) read(ctx context.Context, kind record.Kind, id string) (record.Object, error) {
	if err := checkID(kind, id); err != nil {
		return record.Object{}, err
	}
	k := call{
		op:     "read " + string(kind) + " " + id,
		method: http.MethodGet,
		path:   "/" + kind.Stream() + "/" + id,
		single: true,
	}
	k.endpoint = "GET /" + kind.Stream() + "/{id}"
	if kind == record.KindContact && c.atLeast("2.16") {
		k.query = url.Values{"include_merge_history": {"true"}}
	}
	o := record.Object{Kind: kind, ID: id, Request: k.method + " " + k.path, APIVersion: c.version}
	r, err := c.do(ctx, k)
	var e *Error
	if errors.As(err, &e) && e.Class == ClassGone {
		o.FetchedAt = c.opts.Clock.Now().UTC()
		o.Gone = record.GoneDeleted
		if e.Canonical != "" && kind == record.KindContact {
			o.Gone = record.GoneMerged
			o.MergedInto, err = c.survivor(ctx, e.Canonical)
			return o, err
		}
		return o, nil
	}
	if err != nil {
		return o, err
	}
	if h := headOf(r.body); string(h.ID) != id {
		return o, &Error{
			Op: k.op, Method: k.method, Path: k.path, Status: http.StatusOK, Class: ClassUnreadable, Attempts: 1, Alone: true,
			err: fmt.Errorf("the answer is another object: id %q", plain(string(h.ID), 80)),
		}
	}
	o.Body, o.FetchedAt = r.body, r.at
	return o, nil
}

// survivor follows merges from id on. Intercom resolves up to three of them by itself; a longer chain, or a
// survivor that was deleted since, ends at the last id known.
func (c *Client) survivor(ctx context.Context, id string) (string, error) {
	for range maxHops {
		if checkID(record.KindContact, id) != nil {
			return id, nil
		}
		_, err := c.do(ctx, call{
			op: "read contact " + id, method: http.MethodGet, path: "/contacts/" + id, endpoint: "GET /contacts/{id}",
		})
		var e *Error
		if !errors.As(err, &e) || e.Class != ClassGone || e.Canonical == "" {
			if err != nil && !IsGone(err) {
				return "", err
			}
			return id, nil
		}
		id = e.Canonical
	}
	return id, nil
}

// MergedLeads returns tombstones for the contacts that were merged into contact o, as far as its
// merge_history tells them (from version 2.16; reads and listings of this package ask for it).
func MergedLeads(o record.Object) []record.Object {
	if o.Kind != record.KindContact || o.Gone != "" {
		return nil
	}
	var gone []record.Object
	elements(member(o.Body, "merge_history"), func(entry []byte) {
		var source text
		var merged seconds
		members(entry, func(name string, value []byte) {
			switch name { // neither UnmarshalJSON can fail
			case "source_contact_id":
				_ = source.UnmarshalJSON(value)
			case "merged_at":
				_ = merged.UnmarshalJSON(value)
			}
		})
		if source == "" || string(source) == o.ID {
			return
		}
		gone = append(gone, record.Object{
			Kind: record.KindContact, ID: string(source), FetchedAt: o.FetchedAt, Request: o.Request,
			APIVersion: o.APIVersion, Gone: record.GoneMerged, GoneAt: merged.time(), MergedInto: o.ID,
		})
	})
	return gone
}
