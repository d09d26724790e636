package intercom

import (
	"context"
	"iter"
	"net/http"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Listed is what the row of a list says of its object, for counting in a second way.
type Listed struct {
	ID                   string
	CreatedAt, UpdatedAt int64 // unix seconds; 0 if not told
	// Parts is Intercom's own count of a conversation's parts (statistics.count_conversation_parts), which lists have
	// although they have no parts; -1 if not told.
	Parts int
}

// ListedAs reads the row of a list, or a whole object.
func ListedAs(o record.Object) Listed {
	l := Listed{ID: o.ID, Parts: -1}
	h := headOf(o.Body)
	l.CreatedAt, l.UpdatedAt = int64(h.CreatedAt), int64(h.UpdatedAt)
	if o.Kind == record.KindConversation {
		parts := count(-1)
		if raw := member(member(o.Body, "statistics"), "count_conversation_parts"); raw != nil {
			_ = parts.UnmarshalJSON(raw) // it cannot fail
		}
		l.Parts = int(parts)
	}
	return l
}

// CountCreated asks how many conversations or tickets were created in [from, to), in unix seconds, by Intercom's own
// total_count; -1 if it does not tell. Where the search takes its bounds as included, which is not settled (fact
// sheet, section 2.3), those of the seconds before and after are counted as well. One request.
func (c *Client) CountCreated(ctx context.Context, kind record.Kind, from, to int64) (int, error) {
	l, err := c.list(ctx, call{
		op: "count " + kind.Stream(), method: http.MethodPost, path: "/" + kind.Stream() + "/search",
		body: searchBody{
			Query:      allOf(filter{"created_at", ">", max(from, 1) - 1}, filter{"created_at", "<", to}),
			Sort:       &searchSort{Field: "created_at", Order: "ascending"},
			Pagination: searchPage{PerPage: 1},
		},
	})
	return l.total, err
}

// Created walks the conversations or tickets that were created in a span of time, as rows of lists.
type Created struct {
	search   *Search
	from, to int64
}

// NewCreated returns the walk over [from, to), in unix seconds.
func NewCreated(c *Client, kind record.Kind, from, to int64) *Created {
	return &Created{search: &Search{client: c, kind: kind}, from: max(from, 1), to: to}
}

// Name is e.g. "created conversations".
func (s *Created) Name() string { return "created " + s.search.Name() }

// Pages walks from a cursor on; nil is the beginning.
func (s *Created) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	if from == nil {
		from = encodeCursor(timeCursor{From: s.from, Until: s.to, Done: s.from >= s.to})
	}
	return s.search.Pages(ctx, from)
}
