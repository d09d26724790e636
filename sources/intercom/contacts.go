package intercom

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// StreamOptions of the streams that Intercom can page and search. The zero value walks everything.
type StreamOptions struct {
	// Since limits the stream to what changed at or after it; it is the start of the last complete
	// sync by the server's clock (Client.ServerTime). The stream reaches back further by Overlap.
	Since time.Time
	// Overlap is how far before Since is read again, since Intercom's search lags behind. Contacts
	// are searched by the day of the workspace's timezone, so theirs is a day at least. Zero is a day for
	// contacts and 5 minutes for conversations and tickets.
	Overlap time.Duration
	// Until is the end of a walk over conversations or tickets; the server's time when it begins if zero.
	// What changes later is the next sync's. A resumed stream keeps the end it began with.
	Until time.Time
	// Sample stops the stream after so many objects, 0 is all.
	Sample int
	// PageSize is the rows asked for per page, 150 (Intercom's most) if zero.
	PageSize int
}

// maxPage is the most rows that Intercom puts on a page of these lists.
const maxPage = 150

func (o StreamOptions) pageSize() int {
	if o.PageSize <= 0 || o.PageSize > maxPage {
		return maxPage
	}
	return o.PageSize
}

const contactOverlap = 24 * time.Hour

// Contacts walks all contacts, or those that changed. Each contact is followed by tombstones for those
// that were merged into it.
type Contacts struct {
	client *Client
	o      StreamOptions
}

// NewContacts returns the stream of all contacts, or, with Since, of those that changed.
func NewContacts(c *Client, o StreamOptions) *Contacts { return &Contacts{client: c, o: o} }

// Name is "contacts".
func (s *Contacts) Name() string { return record.KindContact.Stream() }

// Pages walks from a cursor on. A walk that Intercom breaks off (stale cursor) or that comes out
// shorter than Intercom's own count is made again; rows of this run that were yielded before are
// left out then.
func (s *Contacts) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		var at listCursor
		if err := decodeCursor(s.Name(), from, &at); err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		if from == nil && !s.o.Since.IsZero() {
			at.Bound = max(1, s.o.Since.Add(-max(s.o.Overlap, contactOverlap)).Unix())
		}
		w := newListWalk(s.client, record.KindContact, s.o, &at, s.call)
		for !at.Done {
			page, err := w.next(ctx)
			page.Cursor = encodeCursor(at)
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

func (s *Contacts) call(at *listCursor) call {
	history := s.client.atLeast("2.16")
	if at.Bound == 0 {
		k := listCall(record.KindContact, s.o.pageSize(), at.After)
		if history {
			k.query.Set("include_merge_history", "true")
		}
		return k
	}
	k := call{op: "search changed contacts", method: http.MethodPost, path: "/contacts/search"}
	if history {
		k.query = url.Values{"include_merge_history": {"true"}}
	}
	// Up to 2.16, > means from the day after on and = the whole day; from 2.17 on both are exact. The
	// two together are right in either world (fact sheet, section 0).
	k.body = searchBody{
		Query: anyOf(
			filter{"updated_at", ">", at.Bound},
			filter{"updated_at", "=", at.Bound},
		),
		Sort:       &searchSort{Field: "updated_at", Order: "ascending"},
		Pagination: searchPage{PerPage: s.o.pageSize(), StartingAfter: at.After},
	}
	return k
}
