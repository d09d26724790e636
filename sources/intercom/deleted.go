package intercom

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// DeletedOptions of the stream of deleted conversations.
type DeletedOptions struct {
	// Since ends the stream at deletions that are older, less Overlap; the zero time reads all.
	Since time.Time
	// Overlap is 5 minutes if zero.
	Overlap time.Duration
}

// Deleted lists deleted conversations as tombstones, newest first. Versions before 2.16 have no such list:
// then the stream is one empty page that counts "intercom/conversations/no list of deletions".
type Deleted struct {
	client *Client
	o      DeletedOptions
}

// NewDeleted returns the stream.
func NewDeleted(c *Client, o DeletedOptions) *Deleted {
	if o.Overlap <= 0 {
		o.Overlap = timeOverlap
	}
	return &Deleted{client: c, o: o}
}

// Name is "deleted conversations".
func (s *Deleted) Name() string { return "deleted conversations" }

type deletedCursor struct {
	Done  bool  `json:"done,omitempty"`
	Page  int   `json:"page,omitempty"` // the last one committed
	Since int64 `json:"since,omitempty"`
}

const deletedPage = 60

// Pages lists from a cursor on. What is deleted meanwhile pushes rows to later pages, so a row may come
// twice, and none is passed over.
func (s *Deleted) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		var at deletedCursor
		if err := decodeCursor(s.Name(), from, &at); err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		if from == nil && !s.o.Since.IsZero() {
			at.Since = max(1, s.o.Since.Add(-s.o.Overlap).Unix())
		}
		for !at.Done {
			page, err := s.next(ctx, &at)
			page.Cursor = encodeCursor(at)
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

func (s *Deleted) next(ctx context.Context, at *deletedCursor) (pipeline.Page[record.Object], error) {
	var page pipeline.Page[record.Object]
	if !s.client.atLeast("2.16") {
		page.Counts.Add("intercom/conversations/no list of deletions", 1)
		at.Done = true
		return page, nil
	}
	k := call{
		op: "list deleted conversations", method: http.MethodGet, path: "/conversations/deleted",
		query: url.Values{
			"page": {strconv.Itoa(at.Page + 1)}, "per_page": {strconv.Itoa(deletedPage)}, "order": {"desc"},
		},
	}
	l, err := s.client.list(ctx, k)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return page, err
		}
		switch {
		case at.Page == 0 && (e.Class == ClassGone || e.Code == "intercom_version_invalid"):
			page.Counts.Add("intercom/conversations/no list of deletions", 1)
		case at.Page > 0 && e.Class == ClassRequest:
			// Page numbers end somewhere (companies at 10,000 rows); what is behind is left to a full walk.
			page.Counts.Add("intercom/conversations/list of deletions cut short", 1)
		default:
			return page, err
		}
		at.Done = true
		return page, nil
	}
	page.Rejects = rejectRows(record.KindConversation, l.bad)
	for _, r := range l.rows {
		var deleted seconds
		_ = deleted.UnmarshalJSON(member(r.raw, "deleted_at")) // cannot fail
		if deleted != 0 && int64(deleted) < at.Since {
			at.Done = true // newest first: the rest is known
			break
		}
		o := s.client.object(record.KindConversation, r, l.at, k.method+" "+k.path)
		o.Gone, o.GoneAt = record.GoneDeleted, deleted.time()
		page.Items = append(page.Items, o)
	}
	at.Page++
	at.Done = at.Done || !l.more || len(l.rows) == 0
	return page, nil
}
