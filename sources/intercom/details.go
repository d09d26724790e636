package intercom

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// DetailOptions of a Details stage.
type DetailOptions struct {
	// Concurrency is how many requests one call of Process has under way at once, 32 if zero.
	// All calls together stay below Options.MaxInFlight of the client.
	Concurrency int
}

// Details is the stage that makes rows of lists whole objects: a conversation is read singly, since
// lists have no parts; a contact or ticket only where the row was cut. What is whole already, or
// gone, passes through without a request. A conversation that does not exist any more becomes a
// tombstone, one that cannot be read a reject with its row as the payload. It keeps the order, and is
// safe for concurrent use.
type Details struct {
	client      *Client
	concurrency int
}

// NewDetails returns the stage.
func NewDetails(c *Client, o DetailOptions) *Details {
	return &Details{client: c, concurrency: cmp.Or(o.Concurrency, 32)}
}

// Name is "details".
func (d *Details) Name() string { return StageDetails }

// Process completes the objects of one batch. An error is a *Error that would befall other objects as well: a
// dead token, a missing permission, an outage.
func (d *Details) Process(ctx context.Context, in []record.Object) (pipeline.Result[record.Object], error) {
	var (
		out     = make([]record.Object, len(in))
		rejects = make([]*pipeline.Reject, len(in))
	)
	err := pipeline.ForEach(ctx, len(in), d.concurrency, func(ctx context.Context, i int) error {
		o, err := d.client.whole(ctx, in[i])
		if err == nil {
			out[i] = o
			return nil
		}
		if !ownFault(err) {
			return err
		}
		rejects[i] = &pipeline.Reject{
			Stage: d.Name(), Kind: string(in[i].Kind), ID: in[i].ID, Reason: err.Error(), Payload: in[i].Body,
		}
		return nil
	})
	if err != nil {
		return pipeline.Result[record.Object]{}, err
	}
	var result pipeline.Result[record.Object]
	result.Items = out[:0]
	for i := range out {
		if rejects[i] != nil {
			result.Rejects = append(result.Rejects, *rejects[i])
			continue
		}
		if out[i].Gone != "" && in[i].Gone == "" {
			result.Counts.Add("intercom/"+out[i].Kind.Stream()+"/gone before it was read", 1)
		}
		result.Items = append(result.Items, out[i])
	}
	return result, nil
}

// whole returns the object that a row stands for.
func (c *Client) whole(ctx context.Context, o record.Object) (record.Object, error) {
	switch {
	case o.Gone != "":
		return o, nil
	case o.Kind == record.KindConversation && o.Request != "GET /conversations/"+o.ID:
		return c.read(ctx, o.Kind, o.ID)
	}
	return c.complete(ctx, o)
}

// ownFault reports whether an error is the one object's: an answer that cannot be read, an id that
// cannot be asked for, or a failure while others succeeded.
func ownFault(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Class {
	case ClassRequest:
		return e.Code != "intercom_version_invalid"
	case ClassUnreadable:
		// A bare 404 is a wrong address, not an object.
		return e.Alone || e.Status != http.StatusNotFound
	case ClassTemporary:
		return e.Alone && e.Status >= 500
	}
	return false
}

// IsOwnFault reports whether err is about one object alone, so that reading the others makes sense: an answer that cannot be read, a
// request for it that Intercom refuses, or a failure that nothing but this object meets.
func IsOwnFault(err error) bool { return ownFault(err) }
