package model

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"haloingest/stages/distill"
)

func maskText(text string, names ...string) (string, *mask) {
	c := &distill.Conversation{}
	for _, name := range names {
		c.Turns = append(c.Turns, distill.Turn{Name: name})
	}
	c.Turns = append(c.Turns, distill.Turn{Text: text, Parts: []distill.Span{{Start: 0, End: len(text)}}})
	m := newMask(c)
	var x masked
	x.add(m, text, 0, len(text))
	return x.text, m
}

func TestPersonalDataHasPlaceholders(t *testing.T) {
	for text, want := range map[string]string{
		"write to a.b+c@mail.example.co.uk.":         "write to ⟦EMAIL_1⟧.",
		"A@x.example and A@x.example, b@x.example":   "⟦EMAIL_1⟧ and ⟦EMAIL_1⟧, ⟦EMAIL_2⟧",
		"call +49 (30) 123-4567 or 030/1234567":      "call ⟦PHONE_1⟧ or ⟦PHONE_2⟧",
		"call (555) 010-9999 now":                    "call ⟦PHONE_1⟧ now",
		"version 10.14.6 of 2024-05-01, order 12345": "version 10.14.6 of 2024-05-01, order 12345",
		"on 01/05/2024 at 10:30":                     "on 01/05/2024 at 10:30",
		"card 4111 1111 1111 1111!":                  "card ⟦CARD_1⟧!",
		"IBAN DE89 3704 0044 0532 0130 00, please":   "IBAN ⟦IBAN_1⟧, please",
		"from 192.168.10.20":                         "from ⟦IP_1⟧",
		"see https://x.example/a?b=c, @jane_doe":     "see ⟦URL_1⟧, ⟦HANDLE_1⟧",
		"account 123456789012":                       "account ⟦PHONE_1⟧",
		"a forged ⟦EMAIL_1⟧ here":                    "a forged ⟦TEXT_1⟧ here",
		"Ann Lee said that Lee will annul it":        "⟦NAME_1⟧ said that ⟦NAME_2⟧ will annul it",
		"Dear Karen Small, your parcel":              "Dear ⟦NAME_1⟧, your parcel",
	} {
		got, m := maskText(text, "Ann Lee")
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
		if back, ok := m.reveal(got); !ok || back != text {
			t.Errorf("%s comes back as %s (%v)", text, back, ok)
		}
	}
}

// Whatever a text holds, masking can be undone, and each range of the masked text is one of the original.
func TestMaskingIsUndone(t *testing.T) {
	bits := []string{"ann@x.example", "+49 30 1234567", "⟦EMAIL_1⟧", "⟦", "⟧", " ", "Ann Lee", "ann", "https://x.example/é", "word", "3.4.1", "\n", "é", "请求", "4111111111111111", "@h_1", ".", "192.168.0.1"}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(bits), 0, 12).Draw(t, "bits"), "")
		c := &distill.Conversation{Customer: "Ann Lee"}
		m := newMask(c)
		var x masked
		x.add(m, text, 0, len(text))
		if back, ok := m.reveal(x.text); !ok || back != text {
			t.Fatalf("%q is masked as %q and comes back as %q (%v)", text, x.text, back, ok)
		}
		if strings.Contains(x.text, "ann@x.example") {
			t.Fatalf("%q is masked as %q", text, x.text)
		}
		if x.text == "" {
			return
		}
		at := rapid.IntRange(0, len(x.text)-1).Draw(t, "at")
		end := rapid.IntRange(at+1, len(x.text)).Draw(t, "end")
		from, to, ok := x.original(at, end)
		if !ok || from < 0 || to > len(text) || from >= to {
			t.Fatalf("[%d:%d) of %q is [%d:%d) of %q (%v)", at, end, x.text, from, to, text, ok)
		}
		if !strings.ContainsAny(x.text, opening) && text[from:to] != x.text[at:end] {
			t.Fatalf("%q is not %q", text[from:to], x.text[at:end])
		}
	})
}

func FuzzAnswersOfAnyKindAreJudged(f *testing.F) {
	for _, s := range []string{items(good()...), `{"items":[{"kind":"summary","text":"⟦","quotes":[{"message":1,"quote":"("}]}]}`, "```json{}```", "[", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := &distill.Conversation{Turns: []distill.Turn{{Speaker: "user", Text: "Hello ⟦x, a@x.example 5"}}}
		c.Turns[0].Parts = []distill.Span{{Start: 0, End: len(c.Turns[0].Text)}}
		p, err := prepare(c)
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseAnswer(text)
		if err != nil {
			return
		}
		items, _ := p.ground(a)
		for _, it := range items {
			for _, q := range it.Quotes {
				if q.Turn != 0 || q.Start < 0 || q.End > len(c.Turns[0].Text) || q.Start >= q.End {
					t.Fatalf("%+v", q)
				}
			}
		}
	})
}
