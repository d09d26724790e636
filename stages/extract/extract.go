// Package extract is the first stage: it reads what Intercom sent, as tolerantly as its fact sheet
// asks for, and makes records of it whose texts PostgreSQL is sure to take.
//
// A field that is missing, null or empty costs nothing; one whose value is absurd (a time before 1970, a
// negative count, an unknown member of an enumeration) costs that field and is counted; unknown fields
// are counted. Numbers and truth values become their text where a text is expected. What would otherwise
// be lost without a word makes a reject, which names the field and keeps the object until it can be read:
//
//   - no JSON object, no usable id, the type of another stream;
//   - a wrong type where the structure is (a list of parts that is a text, an author that is a number);
//   - an object or a list, even an empty one, where the documentation has a text, a number, a truth value,
//     a time or an id (where it has an object, {} and PHP's [] are none);
//   - a time that is neither a number nor a text that reads as one ("bad", true, a 30th of February).
//
// Custom attributes are free: each is kept as what it is.
//
// Counters (see pipeline.Counts), all of them of values seen in the batch:
//
//	unmapped/<kind>/field/<name>       a field that says something and goes nowhere but the raw object
//	unmapped/<kind>/<field>=<value>    an unknown member of an enumeration, or "(what is wrong)"
//	unmapped/part_type/<type>          a part type that is not documented; the message is kept
//	unmapped/author_type/<type>        an author type that is not documented
//	custom_attribute/<kind>/<name>     a custom attribute, which is kept under its name
//	kept_as_text/<kind>                an attribute that jsonb cannot hold as what it is
//	redacted/<kind>                    a redacted message, whose text is not taken over
package extract

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"haloingest/pipeline"
	"haloingest/pipeline/record"
)

// StageName is the stage's name, also in rejects.
const StageName = "extract"

// Options of a Stage. The zero value works.
type Options struct {
	// Reference names what objects only number: tags, segments, admins, teams, ticket types and states.
	// Its maps are read by several goroutines and must not change any more.
	Reference record.Reference
}

// Stage is a pipeline.Stage. It keeps no state between batches; several goroutines may use it at once.
type Stage struct {
	ref      record.Reference
	decoders sync.Pool
}

// New returns the stage.
func New(o Options) *Stage { return &Stage{ref: o.Reference} }

// Name returns StageName.
func (s *Stage) Name() string { return StageName }

// Process makes an item of every object, in order, or a reject. The items keep pointers to the
// objects; they share no other memory with them. An object that is gone passes as it is.
func (s *Stage) Process(ctx context.Context, in []record.Object) (pipeline.Result[record.Item], error) {
	d, _ := s.decoders.Get().(*decoder)
	if d == nil {
		d = &decoder{ref: &s.ref}
	}
	d.counts = newTally()
	result := pipeline.Result[record.Item]{Items: make([]record.Item, 0, len(in))}
	for i := range in {
		if err := ctx.Err(); err != nil {
			return pipeline.Result[record.Item]{}, fmt.Errorf("extract: %w", context.Cause(ctx))
		}
		o := &in[i]
		item := record.Item{Object: o}
		if o.Gone == "" {
			if bad := d.object(&item); bad != nil {
				result.Rejects = append(result.Rejects, reject(o, bad))
				continue
			}
		}
		result.Items = append(result.Items, item)
	}
	result.Counts = d.counts.result()
	d.counts, d.prefix, d.bad = nil, nil, nil
	d.tree.src = nil
	if cap(d.tree.nodes) <= 1<<20 { // 32 MiB; one huge object shall not keep it for good
		s.decoders.Put(d)
	}
	return result, nil
}

// object decodes the item's object into the record of its kind.
func (d *decoder) object(item *record.Item) *badField {
	o := item.Object
	d.kind, d.prefix, d.bad = o.Kind, nil, nil
	v, err := d.tree.parse(o.Body)
	if err != nil {
		return &badField{"", "not JSON: " + err.Error()}
	}
	if v.kind() != object {
		return &badField{"", fmt.Sprintf("want an object, got %s", v.kind())}
	}
	var types []string
	switch o.Kind {
	case record.KindContact:
		types = []string{"contact", "user", "lead"} // the last two are API 1.x
	case record.KindCompany, record.KindConversation, record.KindTicket:
		types = []string{string(o.Kind)}
	default:
		return &badField{"", fmt.Sprintf("unknown kind of object %q", short(string(o.Kind)))}
	}
	if bad := checkType(v.get("type"), types); bad != nil {
		return bad
	}
	id, bad := ownID(v)
	if bad != nil {
		return bad
	}
	switch o.Kind {
	case record.KindContact:
		item.Contact = d.contact(v, id)
	case record.KindCompany:
		item.Company = d.company(v, id)
	case record.KindConversation:
		item.Conversation = d.conversation(v, id)
	case record.KindTicket:
		item.Ticket = d.ticket(v, id)
	}
	if d.bad != nil {
		item.Contact, item.Company, item.Conversation, item.Ticket = nil, nil, nil, nil
	}
	return d.bad
}

func checkType(v value, types []string) *badField {
	switch v.kind() {
	case absent, null:
		return nil
	case text:
		got := v.text()
		for _, t := range types {
			if got == t {
				return nil
			}
		}
		return &badField{"type", fmt.Sprintf("want %q, got %q", types[0], short(got))}
	}
	return &badField{"type", fmt.Sprintf("want a string, got %s", v.kind())}
}

// ownID reads the object's own id, without which nothing can be done with it.
func ownID(object value) (string, *badField) {
	v := object.get("id")
	switch v.kind() {
	case absent, null:
		return "", &badField{"id", "the object has no id"}
	case text:
		id := strings.TrimSpace(v.text())
		switch {
		case id == "":
			return "", &badField{"id", "the id is empty"}
		case len(id) > maxID:
			return "", &badField{"id", fmt.Sprintf("the id is %d bytes long, at most %d are taken", len(id), maxID)}
		}
		return id, nil
	case number:
		if s := string(v.raw()); wholeNumber(s) {
			return s, nil
		}
		return "", &badField{"id", "the id is a number but not a whole one"}
	}
	return "", &badField{"id", fmt.Sprintf("want a string or a number, got %s", v.kind())}
}

func reject(o *record.Object, bad *badField) pipeline.Reject {
	id := strings.TrimSpace(record.CleanText(o.ID))
	if len(id) > maxID {
		id = short(id)
	}
	where := ""
	if bad.field != "" {
		where = bad.field + ": "
	}
	name := string(o.Kind)
	if id != "" {
		name += " " + id
	}
	return pipeline.Reject{
		Stage: StageName, Kind: record.CleanText(string(o.Kind)), ID: id, Field: bad.field,
		Reason: fmt.Sprintf("read %s: %s%s", short(name), where, bad.reason), Payload: o.Body,
	}
}
