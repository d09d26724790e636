package diff

import (
	"encoding/json"
	"strconv"
	"strings"

	"haloingest/pipeline/record"
)

// Names of the rules by which a cell counts as equal that is not the same. They say what the contract ("Identity") and the loader do.
const (
	RuleFilled       = "filled"
	RuleKeysStay     = "keys-stay"
	RuleOtherShown   = "other-shown"
	RuleMessagesKept = "messages-kept"
)

// Rule explains a rule.
type Rule struct{ Name, Text string }

// Rules lists all rules.
func Rules() []Rule {
	return []Rule{
		{RuleFilled, "the object has nothing there, and its row, which Halo made or which several contacts share, has it from elsewhere; what it should be nobody knows"},
		{RuleKeysStay, "every key of the object is there with its value; further keys, which Intercom lacks, stay"},
		{RuleOtherShown, "several contacts are one person and share a row, which shows another of them; this one's state was loaded"},
		{RuleMessagesKept, "Intercom gives the newest messages of a long conversation only; those that were loaded before are kept"},
	}
}

// ownPrefix begins the keys that this program writes into a context.
const ownPrefix = "intercom_"

// pair is an object on both sides, both there, and one row of each.
type pair struct {
	entity   string
	l, r     []Value // left and right
	database *Object // the object as the database has it; the rules are about its side
	swapped  bool    // that side is the left one
	specs    []ColumnSpec
	kept     bool // see messagesKept
}

func newPair(entity string, lo, ro *Object, l, r []Value) *pair {
	p := &pair{entity: entity, database: ro, l: l, r: r, specs: tables[entity].values}
	if lo.Rows != nil && ro.Rows == nil {
		p.database, p.swapped = lo, true
	}
	p.kept = p.messagesKept()
	return p
}

// sides are the values of the object, and those of its row in the database.
func (p *pair) sides() (object, row []Value) {
	if p.swapped {
		return p.r, p.l
	}
	return p.l, p.r
}

// judge compares a column: equal, equal by the named rule, or different.
func (p *pair) judge(i int) (equal bool, rule string) {
	if p.l[i] == p.r[i] {
		return true, ""
	}
	values, row := p.sides()
	l, r := values[i], row[i]
	for _, rule := range p.specs[i].Rules {
		if p.holds(rule, i, l, r) {
			return true, rule
		}
	}
	return false, ""
}

func (p *pair) holds(rule string, i int, l, r Value) bool {
	other := p.database.State == record.FingerprintShared
	switch rule {
	case RuleFilled:
		return p.database.Shared && !l.Valid && r.Valid
	case RuleKeysStay:
		return l.Valid && r.Valid && keysStay(l.Text, r.Text, func(key string) bool {
			return p.database.Shared || p.specs[i].Name != "context" || !strings.HasPrefix(key, ownPrefix)
		})
	case RuleOtherShown:
		if !other {
			return false
		}
		switch p.specs[i].Name {
		case "external_id", "source_id", "source_updated_at", "content_hash":
			// The identity map has these of every contact, and the side of the database gives those.
			return false
		case "custom_fields", "context":
			return l.Valid && r.Valid && keysThere(l.Text, r.Text)
		}
		return r.Valid
	case RuleMessagesKept:
		return p.kept
	}
	return false
}

// members takes an object apart; nil if it is none.
func members(doc string) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(doc), &m) != nil {
		return nil
	}
	return m
}

// keysStay reports whether all members of l are in r, and those that only r has may be there.
func keysStay(l, r string, mayStay func(key string) bool) bool {
	have, held := members(l), members(r)
	if have == nil || held == nil {
		return false
	}
	for key, value := range have {
		if other, there := held[key]; !there || string(other) != string(value) {
			return false
		}
	}
	for key := range held {
		if _, there := have[key]; !there && !mayStay(key) {
			return false
		}
	}
	return true
}

// keysThere reports whether all keys of l are in r.
func keysThere(l, r string) bool {
	have, held := members(l), members(r)
	if have == nil || held == nil {
		return false
	}
	for key := range have {
		if _, there := held[key]; !there {
			return false
		}
	}
	return true
}

// messagesKept reports whether a transcript of which the left has only a part holds that part and messages from before, and what is counted of
// them agrees (sinks/postgres, loader.complete).
func (p *pair) messagesKept() bool {
	if p.entity != "transcripts" || !p.database.Sealed {
		return false
	}
	at := func(name string, v []Value) string {
		for i := range p.specs {
			if p.specs[i].Name == name {
				return v[i].Text
			}
		}
		return ""
	}
	l, r := p.sides()
	if at("complete", l) != "false" {
		return false
	}
	var came, held []json.RawMessage
	if json.Unmarshal([]byte(at("messages", l)), &came) != nil || json.Unmarshal([]byte(at("messages", r)), &held) != nil {
		return false
	}
	more := len(held) - len(came)
	next := 0
	for _, m := range held {
		if next < len(came) && string(m) == string(came[next]) {
			next++
		}
	}
	if next < len(came) || more <= 0 {
		return false
	}
	count := func(name string, v []Value) int { n, _ := strconv.Atoi(at(name, v)); return n }
	expected := count("expected_message_count", r)
	complete := strconv.FormatBool(expected > 0 && count("message_count", r) >= expected)
	return count("message_count", r) == count("message_count", l)+more && at("complete", r) == complete
}
