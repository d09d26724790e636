package distill

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func cleaned(text string, opening bool) string {
	var parts []string
	for _, p := range appendClean(nil, text, opening) {
		parts = append(parts, text[p.Start:p.End])
	}
	return strings.Join(parts, " | ")
}

func TestQuotedRepliesAndSignaturesAreTakenOff(t *testing.T) {
	const answer = "Yes, the second one.\nIt still blinks."
	for _, c := range []struct{ name, behind string }{
		{"English Gmail", "\n\nOn Mon, Mar 2, 2026 at 9:14 AM Bea Helper <bea@shop.test> wrote:\n\n> Which lamp is it?\n> Bea"},
		{"a header over three lines", "\n\nOn 2 Mar 2026, at 09:14, Bea Helper\n<bea@shop.test>\nwrote:\n> Which lamp is it?"},
		{"without angle brackets behind the header", "\n\nOn Mon, 2 Mar 2026 Bea <bea@shop.test> wrote:\n\nWhich lamp is it?\n\nBea"},
		{"German", "\n\nAm Mo., 2. März 2026 um 09:14 Uhr schrieb Bea Helfer <bea@shop.test>:\n\n> Welche Lampe ist es?"},
		{"German Outlook", "\n\n-----Ursprüngliche Nachricht-----\nVon: Bea\nGesendet: Montag\nAn: Ann\n\nWelche Lampe?"},
		{"French over two lines", "\n\nLe lun. 2 mars 2026 à 09:14, Bea <bea@shop.test>\na écrit :\n\n> Quelle lampe ?"},
		{"Spanish", "\n\nEl lun, 2 mar 2026 a las 9:14, Bea (<bea@shop.test>) escribió:\n\n> ¿Qué lámpara es?"},
		{"Portuguese", "\n\nEm seg., 2 de mar. de 2026 às 09:14, Bea <bea@shop.test> escreveu:\n\n> Qual lâmpada?"},
		{"Italian", "\n\nIl giorno lun 2 mar 2026 alle ore 09:14 Bea <bea@shop.test> ha scritto:\n\n> Quale lampada?"},
		{"Dutch", "\n\nOp ma 2 mrt 2026 om 09:14 schreef Bea <bea@shop.test>:\n\n> Welke lamp?"},
		{"Swedish", "\n\nDen mån 2 mars 2026 kl 09:14 skrev Bea <bea@shop.test>:\n\n> Vilken lampa?"},
		{"Polish", "\n\npon., 2 mar 2026 o 09:14 Bea <bea@shop.test> napisał(a):\n\n> Która lampa?"},
		{"Russian without a verb", "\n\nпн, 2 мар. 2026 г. в 09:14, Bea <bea@shop.test>:\n\n> Какая лампа?"},
		{"Japanese", "\n\n2026年3月2日(月) 9:14 Bea <bea@shop.test> のメール:\n\n> どのランプですか"},
		{"an Outlook header behind a rule", "\n\n________________________________\nFrom: Bea\nSent: Monday\nTo: Ann\nSubject: Lamp\n\nWhich lamp?"},
		{"an Outlook header in French", "\n\nDe : Bea\nEnvoyé : lundi\nÀ : Ann\nObjet : Lampe\n\nQuelle lampe ?"},
		{"a help desk's line", "\n\n##- Please type your reply above this line -##\n\nWhich lamp?"},
		{"a signature behind the standard mark", "\n\n-- \nAnn Example\nHead of Lamps\n+1 555 0100"},
		{"a signature behind a rule", "\n\n_____\nAnn Example\nHead of Lamps"},
		{"good wishes and a name", "\n\nBest regards,\nAnn Example\nLamps Inc., 12 Main Street"},
		{"German wishes", "\n\nMit freundlichen Grüßen\n\nAnn Beispiel"},
		{"a phone's line", "\n\nSent from my iPhone"},
		{"a phone's line in French", "\n\nEnvoyé de mon iPhone"},
		{"a name with ways to reach it", "\n\nAnn Example\nann@shop.test\n(555) 010-0100\nwww.shop.test"},
		{"a mailing list's rule", "\n________________\nlamp-users mailing list\nlamp-users@lists.shop.test\nhttps://lists.shop.test/mailman/listinfo/lamp-users_lists.shop.test"},
		{"a header between rules", "\n\n---- On Mon, 2 Mar 2026 09:14:00 +0100 bea@shop.test wrote ----\n\nWhich lamp?"},
		{"a French header that begins with the date", "\n\n====\n\nMessage du : 02/03/2026 09:14\nDe : \"Bea\" <bea@shop.test>\nA : ann@shop.test\nSujet : Lampe\n\nQuelle lampe ?"},
		{"a header that begins with the date", "\n\nDate: Mon, 2 Mar 2026 09:14:00 +0100\nSubject: Lamp\nFrom: bea@shop.test\nTo: ann@shop.test\n\nWhich lamp?"},
		{"a disclaimer", "\n\nThis e-mail and any attachments are confidential. If you are not the intended recipient, please delete it.\nPlease consider the environment."},
		{"a disclaimer behind a signature", "\n\nBest regards\nAnn\n\nCONFIDENTIALITY NOTICE: for the addressee only.\n\nLamps Inc., registered in Exampleshire."},
		{"a German disclaimer", "\n\nDiese E-Mail enthält vertrauliche Informationen. Wenn Sie nicht der richtige Adressat sind, löschen Sie sie bitte."},
		{"a French disclaimer", "\n\nCe message et ses pièces jointes sont confidentiels et établis à l'intention exclusive de leurs destinataires."},
		{"a Spanish disclaimer", "\n\nEste mensaje y sus archivos adjuntos son confidenciales."},
		{"an Italian disclaimer", "\n\n____\n\nLe informazioni contenute in questo messaggio sono riservate."},
		{"a Dutch disclaimer", "\n\nDit bericht is vertrouwelijk en alleen bestemd voor de geadresseerde."},
		{"a Portuguese disclaimer", "\n\nEsta mensagem é confidencial e destina-se apenas ao destinatário."},
		{"several at once", "\n\nKind regards\nAnn\n\nSent from my phone\n\nOn 2/3/2026 Bea wrote:\n> Which lamp?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := cleaned(answer+c.behind, false); got != answer {
				t.Errorf("got %q", got)
			}
			if got := cleaned(strings.ReplaceAll(answer+c.behind, "\n", "\r\n"), false); got != strings.ReplaceAll(answer, "\n", "\r\n") {
				t.Errorf("with carriage returns: %q", got)
			}
		})
	}
}

func TestCleaningKeepsWhatSomebodyWrote(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"answers between quoted questions", "> Which lamp?\nThe red one.\n> Since when?\nMonday.", "The red one. | Monday."},
		{"a name that ends like a header", "He wrote:\nthe lamp is broken", "He wrote:\nthe lamp is broken"},
		{"dashes in a list", "I saw:\n-- a red light\n-- a green light", "I saw:\n-- a red light\n-- a green light"},
		{"regards in a sentence", "Give her my regards.\nWith regards to the lamp: it is broken.", "Give her my regards.\nWith regards to the lamp: it is broken."},
		{"thanks at the end, without the name", "It works now.\n\nThanks,\nAnn", "It works now.\n\nThanks,"},
		{"what is forwarded", "See below.\n\n---------- Forwarded message ---------\nFrom: Shop\nDate: Monday\nSubject: Lamp\nTo: Ann\n\n> Your lamp is late.", "See below.\n\n---------- Forwarded message ---------\nFrom: Shop\nDate: Monday\nSubject: Lamp\nTo: Ann\n\n> Your lamp is late."},
		{"one line that begins like a quotation", "> 5 lamps are broken", "> 5 lamps are broken"},
		{"a mark that is no quotation", ">_< it broke\nagain", ">_< it broke\nagain"},
		{"From in a sentence", "From: the lamp came smoke\nand fire", "From: the lamp came smoke\nand fire"},
		{"nothing but a signature", "Thanks,\nAnn\n\n--\nAnn", "Thanks,"},
		{"nothing but wishes", "Best regards,\nAnn", "Best regards,\nAnn"},
		{"nothing but a quotation", "> Which lamp?\n> Bea", ""},
		{"what is said of a disclaimer", "Hi,\n\nwhy does this e-mail and any other have your disclaimer?", "Hi,\n\nwhy does this e-mail and any other have your disclaimer?"},
		{"a form that was filled in", "Date: 2 March\nSubject: lamp\nTo: the shop\nIt is broken.", "Date: 2 March\nSubject: lamp\nTo: the shop\nIt is broken."},
		{"numbers that answer", "Here you are:\n\n0301 555 010\n0301 555 011", "Here you are:\n\n0301 555 010\n0301 555 011"},
		{"a greeting above a quotation", "Hi,\nOn Mon, 2 Mar 2026 Bea wrote:\n> Which lamp?\nThe red one.", "Hi, | The red one."},
		{"nothing", "\n \n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, cleaned(c.text, false)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if text := "From: Shop\nSent: Monday\nTo: Ann\n\nYour lamp is late."; cleaned(text, true) != text {
		t.Errorf("an opening message of a quotation alone is lost: %q", cleaned(text, true))
	}
}

func splitAll(text string) (out []string) {
	for _, s := range appendSentences(nil, text, 0, len(text)) {
		out = append(out, text[s.Start:s.End])
	}
	return out
}

func TestSentences(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"plain", "It broke. Why? I do not know!", []string{"It broke.", "Why?", "I do not know!"}},
		{"lower case after a full stop", "it broke. no idea why", []string{"it broke.", "no idea why"}},
		{"abbreviations", "Ask Mr. Smith, e.g. on Monday. He knows.", []string{"Ask Mr. Smith, e.g. on Monday.", "He knows."}},
		{"initials", "J. R. Smith wrote. I read.", []string{"J. R. Smith wrote.", "I read."}},
		{"a possessive is no initial", "It is Ann's. Not mine.", []string{"It is Ann's.", "Not mine."}},
		{"numbers and versions", "Version 3.4.1 costs 2.50 a month. No. 5 is free.", []string{"Version 3.4.1 costs 2.50 a month.", "No. 5 is free."}},
		{"a list with numbers", "1. Open it.\n2. Close it.", []string{"1. Open it.", "2. Close it."}},
		{"a German date", "Am 3. März kam es an. Danke.", []string{"Am 3. März kam es an.", "Danke."}},
		{"addresses", "See https://a.test/x.y?z=1. Or ask a.b@c.test! Now.", []string{"See https://a.test/x.y?z=1.", "Or ask a.b@c.test!", "Now."}},
		{"closing quotes and brackets", "He said \"no.\" (Really.) So what?", []string{"He said \"no.\"", "(Really.)", "So what?"}},
		{"dots that trail off", "well... it broke... Then it worked", []string{"well... it broke...", "Then it worked"}},
		{"emoji belong to what is before", "Great! 🎉👍🏽 It works :) Now what", []string{"Great! 🎉👍🏽", "It works :) Now what"}},
		{"an emoticon behind the full stop", "It broke. :( Help", []string{"It broke. :(", "Help"}},
		{"a space forgotten", "it fails.What now?please help", []string{"it fails.", "What now?please help"}},
		{"names with points stay whole", "use Node.Js or foo.Bar.baz today", []string{"use Node.Js or foo.Bar.baz today"}},
		{"Chinese without spaces", "发票在哪里？我找不到。谢谢！", []string{"发票在哪里？", "我找不到。", "谢谢！"}},
		{"Hindi", "यह टूट गया। क्यों?", []string{"यह टूट गया।", "क्यों?"}},
		{"Arabic", "أين الفاتورة؟ لا أجدها.", []string{"أين الفاتورة؟", "لا أجدها."}},
		{"Spanish", "¿Dónde está? No lo sé.", []string{"¿Dónde está?", "No lo sé."}},
		{"short lines are sentences", "Name: Ann\nOrder: 4711", []string{"Name: Ann", "Order: 4711"}},
		{"wrapped lines are one", "This is a long line that a mail program wrapped at the end\nof its width. Done.", []string{"This is a long line that a mail program wrapped at the end\nof its width.", "Done."}},
		{"a bullet after a long line", "This is a long line that a mail program did not wrap at all:\n- first\n- second", []string{"This is a long line that a mail program did not wrap at all:", "- first", "- second"}},
		{"a mark belongs to the white space before it", "Yes. \u0301No. Well.", []string{"Yes. \u0301No.", "Well."}},
		{"nothing", " \n\t", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, splitAll(c.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSentencesLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := arbitraryText(t, "text") + rapid.String().Draw(t, "tail")
		blank := func(r rune) bool { return isBlank(r) || r == '\uFEFF' || r == '\u200B' }
		var b strings.Builder
		end := 0
		for _, s := range appendSentences(nil, text, 0, len(text)) {
			if s.Start < end || s.End <= s.Start || strings.TrimFunc(text[end:s.Start], blank) != "" {
				t.Fatalf("%v behind %d: %q is lost", s, end, text[end:max(end, s.Start)])
			}
			end = s.End
			b.WriteString(text[s.Start:s.End])
		}
		if strings.TrimFunc(text[end:], blank) != "" {
			t.Fatalf("the end %q is lost", text[end:])
		}
	})
}

func TestNoTwoCuesShareAHash(t *testing.T) {
	words := map[uint64]string{}
	for line := range strings.Lines(cueText) {
		for _, w := range strings.FieldsFunc(strings.ToLower(line), func(r rune) bool { return strings.ContainsRune(" ,:\n", r) }) {
			if other, ok := words[wordHash(w)]; ok && other != w {
				t.Errorf("%q and %q", w, other)
			}
			words[wordHash(w)] = w
		}
	}
	if len(words) < 1000 {
		t.Errorf("only %d words", len(words))
	}
}

func TestNoiseAtTheEndsOfSentences(t *testing.T) {
	for _, c := range []struct {
		text, want string
		agent      bool
	}{
		{"@Shop my lamp broke https://t.co/Ab1", "my lamp broke", false},
		{"Hi Ann, please restart the lamp now. /BE", "please restart the lamp now.", true},
		{"Hi there! Sorry to hear that. Please restart it now", "Please restart it now", true},
		{"Please restart the lamp now. ^BE https://t.co/Ab1", "Please restart the lamp now.", true},
		{"Read the guide at https://t.co/Ab1", "Read the guide at https://t.co/Ab1", true},
		{"Please restart the lamp - Tom 2/2", "Please restart the lamp", true},
		{"Is it sent?^BC", "Is it sent?", true},
		{"Hallo Frau Beispiel, bitte starten Sie die Lampe neu.", "bitte starten Sie die Lampe neu.", true},
		{"Thanks for your help!", "Thanks for your help!", false},
		{"Sorry, no.", "Sorry, no.", true},
		{"either/OR", "either/OR", true},
	} {
		t.Run(c.text, func(t *testing.T) {
			s := trimNoise(c.text, Span{0, len(c.text)}, c.agent, true)
			if got := c.text[s.Start:s.End]; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
