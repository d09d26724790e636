package postgres

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// usualLanguage is the text search configuration for what is in no known language: words as they are.
const usualLanguage = "simple"

// functionWords are frequent words by which a language is told, under the name of PostgreSQL's text search configuration for it. Words that several
// of them share count for each.
var functionWords = map[string]string{
	"english":    "the and you your is are was have has not this that with for my we it i to of can please what how been would when from but do there",
	"german":     "der die das und ich nicht ist ein eine sie wir mit auf für den dem es zu haben mein wie kann bitte wird auch aber noch nach bei ihr ihre",
	"french":     "le la les et vous je pas est un une nous de des du que pour dans sur mon ma votre vos avec au aux ne mais plus être avez suis bonjour",
	"spanish":    "el la los las y usted yo no es un una de del que por para en mi su con se pero más cómo está puedo tengo hola lo al como",
	"portuguese": "o a os as e você eu não é um uma de do da dos que por para em meu minha seu com se mas mais como está posso olá ao na no",
	"italian":    "il lo la gli le e io non è un una di del della che per in mio mia con si ma più come sono ho posso ciao al nel anche questo",
	"dutch":      "de het een en ik niet is van wij we met op voor dat die mijn uw je u kan hoe maar nog bij aan heb heeft wordt ook te zijn",
	"swedish":    "och jag inte är en ett det att på med för min mitt ni vi kan hur men har som av till från hej när så den om",
	"danish":     "og jeg ikke er en et det at på med for min mit i vi kan hvordan men har som af til fra hej når så den om jeres",
	"norwegian":  "og jeg ikke er en et det å på med for min mitt dere vi kan hvordan men har som av til fra hei når så den om",
	"finnish":    "ja en ei on se että minun mutta kun ovat olen myös kuin voi miten hei nyt tai jos mitä oli siitä kanssa ole",
	"russian":    "и я не в на что это с как но мы вы у по для меня есть мне от к за при или если здравствуйте так уже",
	"turkish":    "ve bir bu için ben değil ile ne nasıl ama var yok benim çok gibi daha da de merhaba mı mi olarak kadar sonra",
	"hungarian":  "és a az nem egy hogy van én de is meg ez mert már csak még nekem kell lehet üdvözlöm vagyok volt ha mint",
	"romanian":   "și nu este un o de la pe cu eu în am pentru că mai sunt dar din ce cum vă sau mea meu fost",
}

// telltales is functionWords turned round.
var telltales = func() map[string][]string {
	m := make(map[string][]string)
	for language, words := range functionWords {
		for word := range strings.FieldsSeq(words) {
			m[word] = append(m[word], language)
		}
	}
	return m
}()

// languageOf guesses the language of a text by its function words and returns the name of a text search configuration.
func languageOf(text string) string {
	const most = 400 // words are enough
	counts := make(map[string]int, len(functionWords))
	words := 0
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && r != '\'' }) {
		if words++; words > most {
			break
		}
		for _, language := range telltales[strings.ToLower(word)] {
			counts[language]++
		}
	}
	best, n := usualLanguage, 0
	for language, count := range counts {
		if count > n || count == n && language < best {
			best, n = language, count
		}
	}
	if n < 2 || 12*n < words {
		return usualLanguage
	}
	return best
}

// searchable is the form in which a text is indexed and asked for, the same on every server: lower case whatever the database's locale, and scripts
// that are written without blanks in pairs of characters, which PostgreSQL would take for one long word.
func searchable(text string) string {
	text = strings.ToLower(norm.NFC.String(text))
	if strings.IndexFunc(text, unspaced) < 0 {
		return text
	}
	var b strings.Builder
	b.Grow(2 * len(text))
	var before rune
	for _, r := range text {
		switch {
		case !unspaced(r):
			if before != 0 {
				b.WriteByte(' ')
			}
			b.WriteRune(r)
			before = 0
			continue
		case before == 0:
			b.WriteByte(' ')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
			b.WriteByte(' ')
			b.WriteRune(r)
		}
		before = r
	}
	return b.String()
}

func unspaced(r rune) bool {
	return r >= 0x0e00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai)
}
