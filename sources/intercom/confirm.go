package intercom

import (
	"context"
	"fmt"
	"iter"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// Confirm asks of single objects whether they are still there: an object that a full walk did not meet
// may be deleted, or may only have been missed. It yields a tombstone for each that is gone and
// the whole object for each that is there. The cursor counts ids, so a resumed stream must be given
// the same ids in the same order.
type Confirm struct {
	client *Client
	kind   record.Kind
	ids    iter.Seq2[string, error]
}

// confirmPage is how many objects make a page.
const confirmPage = 150

// confirmAtOnce is how many are asked for at the same time.
const confirmAtOnce = 32

// NewConfirm returns a stream over ids. The iterator is run once.
func NewConfirm(c *Client, kind record.Kind, ids iter.Seq2[string, error]) *Confirm {
	return &Confirm{client: c, kind: kind, ids: ids}
}

// Name is e.g. "missing contacts".
func (s *Confirm) Name() string { return "missing " + s.kind.Stream() }

type confirmCursor struct {
	Asked int `json:"asked,omitempty"` // ids
}

// Pages asks from a cursor on, one request for each id.
func (s *Confirm) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page[record.Object], error] {
	return func(yield func(pipeline.Page[record.Object], error) bool) {
		var at confirmCursor
		if err := decodeCursor(s.Name(), from, &at); err != nil {
			yield(pipeline.Page[record.Object]{}, err)
			return
		}
		skip := at.Asked
		batch := make([]string, 0, confirmPage)
		flush := func() bool {
			page, err := s.ask(ctx, batch)
			at.Asked += len(batch)
			batch = batch[:0]
			page.Cursor = encodeCursor(at)
			return yield(page, err) && err == nil
		}
		for id, err := range s.ids {
			if err != nil {
				yield(pipeline.Page[record.Object]{}, fmt.Errorf("list %s: %w", s.Name(), err))
				return
			}
			if skip > 0 {
				skip--
				continue
			}
			if batch = append(batch, id); len(batch) == confirmPage && !flush() {
				return
			}
		}
		if len(batch) > 0 {
			flush()
		}
	}
}

func (s *Confirm) ask(ctx context.Context, ids []string) (pipeline.Page[record.Object], error) {
	var (
		page    pipeline.Page[record.Object]
		found   = make([]record.Object, len(ids))
		rejects = make([]*pipeline.Reject, len(ids))
	)
	err := pipeline.ForEach(ctx, len(ids), confirmAtOnce, func(ctx context.Context, i int) error {
		o, err := s.client.Fetch(ctx, s.kind, ids[i])
		if err != nil && ownFault(err) {
			rejects[i] = &pipeline.Reject{Stage: stageName, Kind: string(s.kind), ID: ids[i], Reason: err.Error()}
			return nil
		}
		found[i] = o
		return err
	})
	if err != nil {
		return page, err
	}
	for i, o := range found {
		switch {
		case rejects[i] != nil:
			page.Rejects = append(page.Rejects, *rejects[i])
		default:
			what := "missing, still there"
			if o.Gone != "" {
				what = "missing, " + string(o.Gone)
			}
			page.Counts.Add("intercom/"+s.kind.Stream()+"/"+what, 1)
			page.Items = append(page.Items, o)
		}
	}
	return page, nil
}
