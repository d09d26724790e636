// Package webhook takes in Intercom's webhooks: Verify checks a signature, Parse says which objects a notification is about, and Handler
// answers a request once what it brought is durable.
//
// A notification is a hint and nothing more. Its order is not promised, it may come twice, late or never, and its item is not the object as
// the API shows it (fact sheet, sections 4 and 5). So nothing of it is written to Halo's tables: the object that it names is read again
// over the API, by whoever drains the inbox. The hourly sync is the guarantee; webhooks make it quick.
package webhook
