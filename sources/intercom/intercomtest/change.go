package intercomtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// ErrNoObject is wrapped by changes to an object that does not exist (any more).
var ErrNoObject = errors.New("no such object")

// Change is one change to the workspace, as /_sim/change takes it.
type Change struct {
	// Op is touch, touch-random, delete-random, reply, note, close, reopen, redact,
	// create, set, merge, delete or ticket-state.
	Op string `json:"op"`
	// Kind and ID name the object (ID not for create and the random ones).
	Kind Kind   `json:"kind,omitempty"`
	ID   string `json:"id,omitempty"`
	// Text is what is said, in plain text; By who says it: user, admin (if empty) or bot.
	Text string `json:"text,omitempty"`
	By   string `json:"by,omitempty"`
	// Part is the id of the part to redact, empty for the opening message.
	Part string `json:"part,omitempty"`
	// Into is the contact that a merged one goes into, Contact the one of a new
	// conversation.
	Into    string `json:"into,omitempty"`
	Contact string `json:"contact,omitempty"`
	// State is a ticket state's category or id.
	State string `json:"state,omitempty"`
	// N is how many objects touch-random and delete-random take, 1 if zero.
	N int `json:"n,omitempty"`
	// Fields are the values of create and set by their API names: for contacts email,
	// name, external_id, role, phone, last_seen_at, companies (ids) and
	// custom_attributes.NAME; for companies name, company_id, website, industry,
	// size, monthly_spend, last_request_at and custom_attributes.NAME; for tickets
	// title and description.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
}

// Apply applies a change and gives the ids that it concerned or made.
func (w *Workspace) Apply(c Change) ([]string, error) {
	ids, err := w.apply(c)
	if err != nil {
		return nil, fmt.Errorf("change %s %s %s: %w", c.Op, c.Kind, c.ID, err)
	}
	return ids, nil
}

func (w *Workspace) apply(c Change) ([]string, error) {
	one := func(id string, err error) ([]string, error) { return []string{id}, err }
	switch c.Op {
	case "touch-random":
		return w.TouchRandom(c.Kind, max(1, c.N)), nil
	case "delete-random":
		return w.DeleteRandom(c.Kind, max(1, c.N)), nil
	case "create":
		switch c.Kind {
		case Conversations:
			return one(w.CreateConversation(c.Contact, c.Text))
		case Contacts:
			return one(w.create(Contacts, op{kind: opCreate, fields: c.Fields}, c.Fields))
		case Companies:
			return one(w.create(Companies, op{kind: opCreate, fields: c.Fields}, c.Fields))
		}
		return nil, errors.New("only conversations, contacts and companies can be created")
	case "touch":
		return one(c.ID, w.change(c.Kind, c.ID, op{kind: opTouch}))
	case "reply":
		return one(w.Reply(c.ID, c.By, c.Text))
	case "note":
		return one(c.ID, w.change(Conversations, c.ID, op{kind: opNote, text: c.Text}))
	case "close":
		return one(c.ID, w.Close(c.ID, c.Text))
	case "reopen":
		return one(c.ID, w.change(Conversations, c.ID, op{kind: opReopen}))
	case "redact":
		return one(c.ID, w.Redact(c.ID, c.Part))
	case "set":
		return one(c.ID, w.Set(c.Kind, c.ID, c.Fields))
	case "merge":
		return one(c.Into, w.MergeContacts(c.ID, c.Into))
	case "delete":
		return one(c.ID, w.Delete(c.Kind, c.ID))
	case "ticket-state":
		return one(c.ID, w.SetTicketState(c.ID, c.State))
	}
	return nil, fmt.Errorf("op %q is not known", c.Op)
}

// living finds an object that can be changed.
func (w *Workspace) living(k Kind, id string) (int, error) {
	i, ok := w.find(k, id)
	if !ok || !w.alive(k, i) {
		return 0, fmt.Errorf("%s %q: %w", k, id, ErrNoObject)
	}
	return i, nil
}

func (w *Workspace) change(k Kind, id string, o op) error {
	i, err := w.living(k, id)
	if err != nil {
		return err
	}
	w.push(k, i, o)
	return nil
}

// push adds a change to an object and, if it is a ticket and a conversation at
// once, moves both.
func (w *Workspace) push(k Kind, i int, o op) {
	w.pushQuietly(k, i, o)
	w.tellChange(k, i, o)
}

func (w *Workspace) pushQuietly(k Kind, i int, o op) {
	before := w.updated(k, i)
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.at == 0 {
		o.at = max(w.now(), before+1)
	}
	w.lay(k, i, o)
	twin, other := -1, Tickets
	switch k {
	case Conversations:
		if i < w.shelf(k).base {
			twin = w.gen.head(i, w.gen.created(k, i)).ticket
		}
	case Tickets:
		twin, other = w.gen.ticketConversation(i), Conversations
	}
	if twin >= 0 && !o.silent {
		w.lay(other, twin, op{kind: opTouch, at: o.at})
	}
	w.version++
}

// lay puts a change over an object; the caller holds the lock.
func (w *Workspace) lay(k Kind, i int, o op) {
	s := w.shelf(k)
	d := &delta{}
	if old := s.deltas[i]; old != nil {
		*d = *old
		d.ops = append(make([]op, 0, len(old.ops)+1), old.ops...)
	}
	if !o.silent {
		d.updated = max(d.updated, o.at)
	}
	if o.kind != opTouch {
		d.ops = append(d.ops, o)
	}
	s.deltas[i] = d
}

// Touch moves an object's updated_at and nothing else.
func (w *Workspace) Touch(k Kind, id string) error { return w.change(k, id, op{kind: opTouch}) }

// TouchRandom touches n objects and gives their ids. Which ones depends on the
// seed and on how often random objects were asked for before.
func (w *Workspace) TouchRandom(k Kind, n int) []string {
	return w.random(k, n, func(i int) { w.push(k, i, op{kind: opTouch}) })
}

// DeleteRandom deletes n objects and gives their ids.
func (w *Workspace) DeleteRandom(k Kind, n int) []string {
	return w.random(k, n, func(i int) { w.remove(k, i) })
}

func (w *Workspace) random(k Kind, n int, f func(i int)) []string {
	w.mu.Lock()
	w.touchSeq++
	r := newRNG(w.opts.Seed, streamChange, w.touchSeq)
	w.mu.Unlock()
	var ids []string
	seen := map[int]bool{}
	for tries := 0; len(ids) < n && tries < n*20+100; tries++ {
		i := r.n(w.count(k))
		if seen[i] || !w.alive(k, i) {
			continue
		}
		seen[i] = true
		ids = append(ids, w.idOf(k, i))
		f(i)
	}
	return ids
}

// Reply adds a comment by user, admin or bot to a conversation, opens it, and
// gives the part's id.
func (w *Workspace) Reply(conversationID, by, text string) (string, error) {
	switch by {
	case "", "user", "admin", "bot":
	default:
		return "", fmt.Errorf("author %q is neither user, admin nor bot", by)
	}
	i, err := w.living(Conversations, conversationID)
	if err != nil {
		return "", err
	}
	if n := len(w.conversation(i).parts); n >= partsPerObject-1 {
		return "", fmt.Errorf("conversation %s has %d parts, there is no room for more", conversationID, n)
	}
	w.push(Conversations, i, op{kind: opReply, by: by, text: text})
	parts := w.conversation(i).parts
	return decimal(parts[len(parts)-1].id), nil
}

// Note adds an internal note.
func (w *Workspace) Note(conversationID, text string) error {
	return w.change(Conversations, conversationID, op{kind: opNote, text: text})
}

// Close closes a conversation, with a last word if text is not empty.
func (w *Workspace) Close(conversationID, text string) error {
	return w.change(Conversations, conversationID, op{kind: opClose, text: text})
}

// Redact takes the text out of a part, or out of the opening message if partID is
// empty. Options.SilentRedaction decides whether updated_at moves.
func (w *Workspace) Redact(conversationID, partID string) error {
	i, err := w.living(Conversations, conversationID)
	if err != nil {
		return err
	}
	o := op{kind: opRedact, silent: w.opts.SilentRedaction}
	if partID != "" {
		for _, p := range w.conversation(i).parts {
			if decimal(p.id) == partID {
				o.part = p.id
			}
		}
		if o.part == 0 {
			return fmt.Errorf("part %q of conversation %s: %w", partID, conversationID, ErrNoObject)
		}
	}
	w.push(Conversations, i, o)
	return nil
}

// CreateConversation opens a conversation by a contact ("" is none) and gives its id.
func (w *Workspace) CreateConversation(contactID, text string) (string, error) {
	who := contactNone
	if contactID != "" {
		i, err := w.living(Contacts, contactID)
		if err != nil {
			return "", err
		}
		who = i
	}
	return w.create(Conversations, op{kind: opCreate, text: text, contact: who}, nil)
}

// CreateContact makes a contact of fields as in Change and gives its id.
func (w *Workspace) CreateContact(fields map[string]any) (string, error) {
	return w.createFrom(Contacts, fields)
}

// CreateCompany makes a company of fields as in Change and gives its id.
func (w *Workspace) CreateCompany(fields map[string]any) (string, error) {
	return w.createFrom(Companies, fields)
}

func (w *Workspace) createFrom(k Kind, fields map[string]any) (string, error) {
	raw, err := rawFields(fields)
	if err != nil {
		return "", err
	}
	return w.create(k, op{kind: opCreate}, raw)
}

func (w *Workspace) create(k Kind, o op, fields map[string]json.RawMessage) (string, error) {
	fields, err := w.checkFields(k, fields)
	if err != nil {
		return "", err
	}
	o.fields = fields
	n := w.count(k)
	newest := w.opts.Start.Unix()
	if n > 0 {
		newest = w.created(k, n-1)
	}
	w.mu.Lock()
	s := w.shelf(k)
	o.at = max(w.now(), newest+1)
	if b := len(s.born); b > 0 {
		o.at = max(o.at, s.born[b-1])
	}
	i := s.total()
	s.born = append(s.born, o.at)
	w.lay(k, i, o)
	w.version++
	w.mu.Unlock()
	w.tellChange(k, i, o)
	return w.idOf(k, i), nil
}

// UpdateContact sets fields of a contact as in Change.
func (w *Workspace) UpdateContact(id string, fields map[string]any) error {
	return w.setFrom(Contacts, id, fields)
}

// UpdateCompany sets fields of a company as in Change.
func (w *Workspace) UpdateCompany(id string, fields map[string]any) error {
	return w.setFrom(Companies, id, fields)
}

func (w *Workspace) setFrom(k Kind, id string, fields map[string]any) error {
	raw, err := rawFields(fields)
	if err != nil {
		return err
	}
	return w.Set(k, id, raw)
}

func rawFields(fields map[string]any) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(fields))
	for k, v := range fields {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", k, err)
		}
		out[k] = b
	}
	return out, nil
}

// Set sets fields of a contact, company or ticket as in Change.
func (w *Workspace) Set(k Kind, id string, fields map[string]json.RawMessage) error {
	fields, err := w.checkFields(k, fields)
	if err != nil {
		return err
	}
	return w.change(k, id, op{kind: opSet, fields: fields})
}

// checkFields refuses names that nothing would be done with, and turns the ids of
// companies into indexes.
func (w *Workspace) checkFields(k Kind, fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	names := map[Kind]string{
		Contacts:  " email name external_id role phone last_seen_at companies ",
		Companies: " name company_id website industry size monthly_spend last_request_at ",
		Tickets:   " title description ",
	}[k]
	out := maps.Clone(fields)
	for name, v := range fields {
		custom := strings.HasPrefix(name, "custom_attributes.") && k != Tickets
		if !custom && !strings.Contains(names, " "+name+" ") {
			return nil, fmt.Errorf("%s have no field %q that can be set", k, name)
		}
		if !json.Valid(v) {
			return nil, fmt.Errorf("field %s is not JSON", name)
		}
		if name == "companies" {
			var ids []string
			if err := json.Unmarshal(v, &ids); err != nil {
				return nil, fmt.Errorf("field companies: %w", err)
			}
			indexes := make([]int, 0, len(ids))
			for _, id := range ids {
				i, err := w.living(Companies, id)
				if err != nil {
					return nil, err
				}
				indexes = append(indexes, i)
			}
			b, err := json.Marshal(indexes)
			if err != nil {
				return nil, fmt.Errorf("field companies: %w", err)
			}
			out[name] = b
		}
	}
	return out, nil
}

// MergeContacts merges one contact into another: it vanishes, and what it took
// part in belongs to the survivor.
func (w *Workspace) MergeContacts(from, into string) error {
	i, err := w.living(Contacts, from)
	if err != nil {
		return err
	}
	j, err := w.living(Contacts, into)
	if err != nil {
		return err
	}
	if i == j {
		return errors.New("a contact cannot be merged into itself")
	}
	gone := w.contact(i)
	at := max(w.now(), w.updated(Contacts, j)+1)
	merge := op{kind: opMergedFrom, at: at, merged: mergeEntry{id: gone.id, role: gone.role, at: at}}
	w.pushQuietly(Contacts, j, merge)
	defer w.tellChange(Contacts, j, merge)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shelf(Contacts)
	d := &delta{}
	if old := s.deltas[i]; old != nil {
		*d = *old
	}
	d.into = j + 1
	s.deltas[i] = d
	w.version++
	return nil
}

// Delete deletes an object. A ticket that is a conversation goes with it.
func (w *Workspace) Delete(k Kind, id string) error {
	i, err := w.living(k, id)
	if err != nil {
		return err
	}
	w.remove(k, i)
	return nil
}

func (w *Workspace) remove(k Kind, i int) {
	defer w.tellGone(k, i)
	w.mu.Lock()
	defer w.mu.Unlock()
	mark := func(k Kind, i int) {
		s := w.shelf(k)
		d := &delta{}
		if old := s.deltas[i]; old != nil {
			*d = *old
		}
		d.deleted = w.now()
		s.deltas[i] = d
	}
	mark(k, i)
	switch k {
	case Conversations:
		if i < w.shelf(k).base {
			if t := w.gen.head(i, w.gen.created(k, i)).ticket; t >= 0 {
				mark(Tickets, t)
			}
		}
	case Tickets:
		if c := w.gen.ticketConversation(i); c >= 0 {
			mark(Conversations, c)
		}
	}
	w.version++
}

// SetTicketState moves a ticket to a state, given by category (the first of that
// category) or id.
func (w *Workspace) SetTicketState(id, state string) error {
	for i, s := range ticketStates {
		if s.id == state || s.category == state {
			return w.change(Tickets, id, op{kind: opTicketState, state: i})
		}
	}
	return fmt.Errorf("ticket state %q is not known", state)
}
