package intercomtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
)

// Dialog is one real dialogue, in the shape of a line of the TweetSumm corpus.
type Dialog struct {
	ID    string       `json:"conversation_id"`
	Turns []DialogTurn `json:"turns"`
}

// DialogTurn is one message of a Dialog. Role is customer or agent.
type DialogTurn struct {
	ID   json.Number `json:"tweet_id"`
	Role string      `json:"role"`
	Text string      `json:"text"`
}

// ReadDialogs reads JSON lines. Dialogues without a turn are an error, as is a
// role other than customer and agent: a file of another shape should not become
// a workspace of nothing.
func ReadDialogs(r io.Reader) ([]Dialog, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20)
	var out []Dialog
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" {
			continue
		}
		var d Dialog
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			return nil, fmt.Errorf("read dialogues, line %d: %w", n, err)
		}
		if len(d.Turns) == 0 {
			return nil, fmt.Errorf("read dialogues, line %d: dialogue %q has no turns", n, d.ID)
		}
		for _, t := range d.Turns {
			if t.Role != "customer" && t.Role != "agent" {
				return nil, fmt.Errorf("read dialogues, line %d: role %q is neither customer nor agent", n, t.Role)
			}
		}
		out = append(out, d)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read dialogues: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read dialogues: the file holds none")
	}
	return out, nil
}

// dialogued serves real dialogues: each one a conversation, each customer a
// contact, each brand a company and, as who answers for it, an admin.
type dialogued struct {
	*synthetic
	dialogs []Dialog
	author  []int    // dialogue -> contact
	brand   []int    // dialogue -> company
	handles []string // contact -> handle
	brands  []string // company -> handle
	home    []int    // contact -> company
}

var mention = regexp.MustCompile(`@(\w+)`)

func newDialogued(o *Options) *dialogued {
	g := &dialogued{dialogs: o.Dialogs}
	people, firms := map[string]int{}, map[string]int{}
	intern := func(m map[string]int, list *[]string, name string) int {
		k := strings.ToLower(name) // handles are written in any case
		if i, ok := m[k]; ok {
			return i
		}
		m[k] = len(*list)
		*list = append(*list, name)
		return m[k]
	}
	known := map[string]bool{}
	for _, d := range g.dialogs {
		if b := brandByMention(d); b != "" {
			known[strings.ToLower(b)] = true
		}
	}
	for _, d := range g.dialogs {
		b := brandOf(d, known)
		firm := intern(firms, &g.brands, b)
		g.brand = append(g.brand, firm)
		who := customerOf(d)
		if who == "" {
			who = "customer-" + d.ID
		}
		p := intern(people, &g.handles, who)
		g.author = append(g.author, p)
		if p == len(g.home) {
			g.home = append(g.home, firm)
		}
	}
	// Options may ask for more or fewer conversations than there are dialogues.
	switch {
	case o.Conversations == 0:
		o.Conversations = len(g.dialogs)
	case o.Conversations < 0:
		o.Conversations = 0
	}
	o.Contacts, o.Companies, o.Tickets, o.Oddities = len(g.handles), len(g.brands), 0, 0
	g.synthetic = newSynthetic(*o)
	g.staff = nil
	for i, b := range g.brands {
		g.staff = append(g.staff, admin{
			id: fmt.Sprint(991267400 + i*37), name: b + " Support", email: strings.ToLower(asciiFold(b)) + "@support.example", teams: []int{0},
		})
	}
	return g
}

// brandByMention is the handle that the customer addresses; account numbers, as
// anonymised people and some brands have, only if there is nothing better.
func brandByMention(d Dialog) string {
	number := ""
	for _, t := range d.Turns {
		if t.Role != "customer" {
			continue
		}
		for _, m := range mention.FindAllStringSubmatch(t.Text, -1) {
			if strings.IndexFunc(m[1], unicode.IsLetter) >= 0 {
				return m[1]
			}
			if number == "" {
				number = m[1]
			}
		}
	}
	return number
}

func brandOf(d Dialog, known map[string]bool) string {
	if b := brandByMention(d); b != "" {
		return b
	}
	// Some copies of the texts have lost their punctuation, so that the handle is
	// just the first word.
	for _, t := range d.Turns {
		if t.Role == "customer" {
			first, _, _ := strings.Cut(strings.TrimSpace(t.Text), " ")
			if known[strings.ToLower(first)] {
				return first
			}
		}
	}
	// An agent who signs is at least the same agent in every dialogue.
	for _, t := range d.Turns {
		if t.Role == "agent" {
			words := strings.Fields(t.Text)
			if last := words[max(0, len(words)-1):]; len(last) == 1 && len(last[0]) > 1 && strings.ContainsAny(last[0][:1], "/^-*") {
				return "Agent " + strings.Trim(last[0], "/^-*")
			}
		}
	}
	return "Unnamed brand"
}

// customerOf is the account that the agent answers.
func customerOf(d Dialog) string {
	for _, t := range d.Turns {
		if t.Role == "agent" {
			if m := mention.FindStringSubmatch(t.Text); m != nil {
				return m[1]
			}
		}
	}
	return ""
}

func (g *dialogued) dialog(i int) int { return i % len(g.dialogs) }

func (g *dialogued) head(i int, created int64) convHead {
	d := g.dialog(i)
	return convHead{
		index: i, created: created, updated: created + int64(len(g.dialogs[d].Turns))*137 + 60, state: stateClosed,
		contact: g.author[d], ticket: -1, admin: g.brand[d], team: -1, turns: len(g.dialogs[d].Turns) - 1,
	}
}

func (g *dialogued) updated(k Kind, i int) int64 {
	if k == Conversations {
		return g.head(i, g.created(k, i)).updated
	}
	return g.synthetic.updated(k, i)
}

func (g *dialogued) contactCompanies(i int, buf []int) []int {
	if i >= len(g.home) {
		return buf[:0]
	}
	return append(buf[:0], g.home[i])
}

func (g *dialogued) contact(i int, created int64) *contact {
	c := g.synthetic.contact(i, created)
	if i >= len(g.handles) {
		return c
	}
	h := g.handles[i]
	return &contact{
		index: i, id: c.id, externalID: "x_" + h, role: "user", owner: -1, created: created, updated: c.updated, signedUp: created,
		email: strings.ToLower(asciiFold(h)) + "@people.example", name: "@" + h, companies: []int{g.home[i]}, lastSeen: c.updated,
	}
}

func (g *dialogued) contactByExternalID(id string) (int, bool) {
	h, ok := strings.CutPrefix(id, "x_")
	if !ok {
		return 0, false
	}
	for i, have := range g.handles {
		if have == h {
			return i, true
		}
	}
	return 0, false
}

func (g *dialogued) company(i int, created int64) *company {
	c := g.synthetic.company(i, created)
	if i >= len(g.brands) {
		return c
	}
	b := g.brands[i]
	return &company{
		index: i, id: c.id, companyID: "brand-" + b, name: b, plan: -1, spend: "0", created: created, updated: c.updated,
		website: "https://" + strings.ToLower(strings.ReplaceAll(asciiFold(b), " ", "-")) + ".example", lastRequest: c.updated,
	}
}

func (g *dialogued) conversation(h convHead, customer *contact) *conversation {
	di := g.dialog(h.index)
	d := g.dialogs[di]
	c := &conversation{
		convHead: h, id: conversationID(h.index), company: g.brand[di], sourceID: decimal(sourceIDBase + uint64(h.index)),
		deliveredAs: "customer_initiated", read: true, teammates: []int{g.brand[di]}, dialogID: d.ID,
		attributes: []attribute{{"dialog_id", quoteJSON(d.ID)}},
	}
	b := builder{s: g.synthetic, c: c, customer: customer}
	who := func(role string) person {
		if role == "agent" {
			return b.adminPerson(h.admin)
		}
		return b.customerPerson()
	}
	if d.Turns[0].Role == "agent" {
		c.deliveredAs = "admin_initiated"
	}
	c.author, c.body = who(d.Turns[0].Role), paragraphs(strings.Split(d.Turns[0].Text, "\n")...)
	at := h.created
	for i, t := range d.Turns[1:] {
		at += 137
		c.parts = append(c.parts, part{
			id: conversationPartID + uint64(h.index)*partsPerObject + uint64(i), typ: "comment", author: who(t.Role), created: at, updated: at, notified: at,
			body: paragraphs(strings.Split(t.Text, "\n")...), externalID: t.ID.String(),
		})
	}
	c.parts = append(c.parts, part{
		id: conversationPartID + uint64(h.index)*partsPerObject + uint64(len(c.parts)), typ: "close", author: b.adminPerson(h.admin), created: h.updated,
		updated: h.updated, notified: h.updated, body: text{null: true}, state: stateClosed,
	})
	return c
}
