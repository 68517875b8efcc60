package nftjson

import (
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// rateUnits are nft's units of a limit.
var rateUnits = map[string]time.Duration{
	"second": time.Second,
	"minute": time.Minute,
	"hour":   time.Hour,
	"day":    24 * time.Hour,
	"week":   7 * 24 * time.Hour,
}

// rateOf is the rate of {"limit": {"rate": 5, "per": "second", "burst": 5}}. It is the zero Rate
// for other statements, a named limit and a rate of bytes.
func rateOf(statement map[string]any) exposure.Rate {
	args, _ := statement["limit"].(map[string]any)
	unit := textOf(args["rate_unit"])
	per := rateUnits[textOf(args["per"])]
	count, err := strconv.ParseUint(text(args["rate"]), 10, 64)
	if per == 0 || err != nil || unit != "" && unit != "packets" {
		return exposure.Rate{}
	}
	burst, _ := strconv.ParseUint(text(args["burst"]), 10, 64)
	return exposure.Rate{
		Count:  count,
		Per:    per,
		Burst:  burst,
		Over:   args["inv"] == true,
		Shared: true,
	}
}
