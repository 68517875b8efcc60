package policy

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// The patterns of texts in the language, for the reader and the JSON Schema.
var (
	namePattern     = firewall.NamePattern
	portPattern     = pattern.New("^" + portExpression + "(-" + portExpression + ")?$")
	ratePattern     = pattern.New(`^[1-9][0-9]{0,8}/(second|minute|hour|day)$`)
	durationPattern = pattern.New(`^([0-9]+(ms|s|m|h|d))+$`)
	expiryPattern   = pattern.New(
		`^[0-9]{4}-[0-9]{2}-[0-9]{2}` +
			`([Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$`,
	)
	httpsPattern   = pattern.New(`^https://[^ /]+(/[^ ]*)?$`)
	linkPattern    = pattern.New(`^https?://[^ ]+$`)
	sha256Pattern  = pattern.New(`^[0-9a-fA-F]{64}$`)
	percentPattern = pattern.New(`^(100|[1-9]?[0-9])%$`)
	pathPattern    = pattern.New(`^/[^ ]*$`)
	hostPattern    = pattern.New(
		`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?` +
			`(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`,
	)
	loopbackPattern = pattern.New(
		`^(127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[::1\]|localhost):` +
			portExpression + `$`,
	)

	// These patterns are for the schema only. The decoder checks the same texts more precisely.
	looseSource    = pattern.New(`^[A-Za-z0-9:][A-Za-z0-9._:/-]*$`)
	looseCIDR      = pattern.New(`^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$`)
	looseAddress   = pattern.New(`^[0-9A-Fa-f.:]+(/32|/128)?$`)
	looseInterface = pattern.New(`^([^*/ \t\n:"\\]{1,15}|[^*/ \t\n:"\\]{0,15}\*)$`)
	looseSelect    = pattern.New(`^\$`)
	looseRemark    = pattern.New(`^[^\x00-\x1f\x7f-\x9f]+\n?$`)
	looseArrival   = pattern.New(`^[^*/ \t\n:"\\]{1,15}$`)
)

// portExpression matches a port in decimal, without leading zeros.
const portExpression = `(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}` +
	`|[1-5][0-9]{4}|[1-9][0-9]{0,3})`
