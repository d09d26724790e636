// Package mapids is the second stage: it says what each Intercom object means for Halo's tables, by
// the contract's sections "Identity" and "Mapping".
//
// It computes everything that follows from the object and the reference data alone: the row's own id
// (record.RowID), the claims by which a person or company is known (external id, e-mail), the values
// of all columns, the references to other objects, the digest. It does not bind an object to a row
// that is there already, does not join contacts that are one person and sets no link: that depends on
// what is in the tables, so the sink does it, inside its transaction.
//
// Nothing in a row depends on the run: no fetch time, no counter, no clock. Two runs over the same
// workspace with the same reference data give equal rows.
//
// # Limits
//
// Halo's limits (halo.md, section 3.10) and those of PostgreSQL are kept by these rules. What was cut
// is named in a list: metadata.truncated of transcripts and tickets, the context entry
// intercom_truncated of end users and companies. The snapshot keeps the whole object.
//
//   - A text is cut at a character: subject, name, plan, industry, category and assignee at 1,000,
//     message at 50,000 characters. A text that is of no use when cut is left out instead: avatar beyond
//     2,000 characters, external id and e-mail beyond 1,000 bytes (they are index keys).
//   - A map that is too large (custom_fields beyond 10,000 characters; traits and context together
//     beyond 20,000 bytes for an end user, 50,000 for a company; metadata beyond 50,000 bytes) loses its
//     largest values, one by one, until it fits; of equally large ones the one whose name sorts first.
//     In metadata, custom_attributes and attributes are taken apart, and what identifies the object stays.
//   - A message's text is cut at 1,000,000 characters and its HTML left out beyond that. Where all
//     messages together pass 32 MiB, all HTML goes and the texts are cut at half that length, a quarter,
//     and so on.
package mapids

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// StageName is the stage's name, also in rejects.
const StageName = "map-ids"

// Config says how a workspace is mapped.
type Config struct {
	// Org is the organisation that the rows belong to; it must not be zero.
	Org record.UUID
	// UserIDField names the contact's field that becomes external_id: external_id (also if empty), id,
	// email or custom_attributes.NAME. An e-mail is taken in the form in which e-mails are compared
	// (record.EmailKey), so that one address is one person.
	UserIDField string
	// CompanyIDField is the same for companies: company_id (also if empty), id, name or
	// custom_attributes.NAME.
	CompanyIDField string
	// Reference names what objects only number. Its maps are read by several goroutines and must not
	// change any more.
	Reference record.Reference
}

// Stage is a pipeline.Stage. It keeps no state between batches; several goroutines may use it at once.
type Stage struct {
	org     record.UUID
	user    idField
	company idField
	ref     record.Reference
	mappers sync.Pool
}

// New returns the stage, or an error that names the setting that is wrong.
func New(c Config) (*Stage, error) {
	if c.Org.IsZero() {
		return nil, fmt.Errorf("map ids: no organisation given")
	}
	user, err := parseIDField(c.UserIDField, "external_id", "external_id", "id", "email")
	if err != nil {
		return nil, fmt.Errorf("user_id_field: %w", err)
	}
	company, err := parseIDField(c.CompanyIDField, "company_id", "company_id", "id", "name")
	if err != nil {
		return nil, fmt.Errorf("company_id_field: %w", err)
	}
	return &Stage{org: c.Org, user: user, company: company, ref: c.Reference}, nil
}

// Name returns StageName.
func (s *Stage) Name() string { return StageName }

// Process makes a change of every item, in order, or a reject. The changes keep pointers into the
// items' records.
func (s *Stage) Process(ctx context.Context, in []record.Item) (pipeline.Result[record.Change], error) {
	m, _ := s.mappers.Get().(*mapper)
	if m == nil {
		m = &mapper{stage: s}
	}
	result := pipeline.Result[record.Change]{Items: make([]record.Change, 0, len(in))}
	m.counts = &result.Counts
	for i := range in {
		if err := ctx.Err(); err != nil {
			return pipeline.Result[record.Change]{}, fmt.Errorf("map ids: %w", context.Cause(ctx))
		}
		change, err := m.change(&in[i])
		if err != nil {
			result.Rejects = append(result.Rejects, reject(&in[i], err))
			continue
		}
		result.Items = append(result.Items, change)
	}
	m.counts = nil
	s.mappers.Put(m)
	return result, nil
}

// mapper holds the buffers of one batch. Not safe for concurrent use.
type mapper struct {
	stage  *Stage
	enc    record.Encoder
	counts *pipeline.Counts
}

// fieldError is why an item cannot be mapped.
type fieldError struct{ field, reason string }

func (e *fieldError) Error() string { return e.field + ": " + e.reason }

func (m *mapper) change(item *record.Item) (record.Change, *fieldError) {
	o := item.Object
	if o == nil {
		return record.Change{}, &fieldError{"object", "the item has no object"}
	}
	c := record.Change{Kind: o.Kind, Object: o}
	if o.Gone != "" {
		return m.gone(c)
	}
	var err *fieldError
	switch {
	case item.Contact != nil:
		m.endUser(&c, item.Contact)
	case item.Company != nil:
		m.companyRow(&c, item.Company)
	case item.Conversation != nil:
		err = m.transcript(&c, item.Conversation)
	case item.Ticket != nil:
		err = m.ticket(&c, item.Ticket)
	default:
		err = &fieldError{"object", "nothing was read of it"}
	}
	return c, err
}

// gone maps word that an object went. Where Intercom does not say when, the time at which it was found
// gone dates the state, but no row.
func (m *mapper) gone(c record.Change) (record.Change, *fieldError) {
	o := c.Object
	switch {
	case strings.TrimSpace(o.ID) == "":
		return c, &fieldError{"id", "gone, but without an id"}
	case o.Gone != record.GoneDeleted && o.Gone != record.GoneMerged:
		return c, &fieldError{"gone", fmt.Sprintf("unknown reason %q", o.Gone)}
	}
	at := o.GoneAt
	if at.IsZero() {
		at = o.FetchedAt
	}
	c.SourceID = o.ID
	c.Version = record.Version{UpdatedAt: at, FetchedAt: o.FetchedAt, Rank: 1}
	c.Gone = &record.Tombstone{Why: o.Gone, At: o.GoneAt, MergedInto: o.MergedInto}
	return c, nil
}

// head fills what all rows have.
func (m *mapper) head(c *record.Change, id string, created, updated time.Time) record.Head {
	if updated.IsZero() {
		updated = created
	}
	c.SourceID = id
	c.Version = record.Version{UpdatedAt: updated, FetchedAt: c.Object.FetchedAt}
	return record.Head{
		Org: m.stage.org, ID: record.RowID(m.stage.org, c.Kind, id), SourceID: id,
		SourceUpdatedAt: updated, SourceCreatedAt: created,
	}
}

func reject(item *record.Item, e *fieldError) pipeline.Reject {
	r := pipeline.Reject{Stage: StageName, Field: e.field}
	name := "object"
	if o := item.Object; o != nil {
		r.Kind, r.ID, r.Payload = string(o.Kind), o.ID, o.Body
		switch {
		case item.Contact != nil:
			r.ID = item.Contact.ID
		case item.Company != nil:
			r.ID = item.Company.ID
		case item.Conversation != nil:
			r.ID = item.Conversation.ID
		case item.Ticket != nil:
			r.ID = item.Ticket.ID
		}
		r.Kind, r.ID = record.CleanText(r.Kind), record.CleanText(r.ID)
		name = strings.TrimSpace(r.Kind + " " + r.ID)
	}
	r.Reason = fmt.Sprintf("map %s: %s: %s", name, e.field, e.reason)
	return r
}
