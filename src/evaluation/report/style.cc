#include "evaluation/report/style.h"

namespace narrow::evaluation {

const std::string_view kReportStyle = R"css(
:root { color-scheme: light dark; --bg: #f6f7f9; --card: #ffffff; --text: #1b2330; --dim: #5d6878; --line: #dfe4ea;
  --good: #1a8754; --fair: #c98a10; --bad: #cf3d35; --s0: #3a6fd8; --s1: #e08a2c; --s2: #2f9e8f; --s3: #9a5fc9;
  --s4: #b8607f; --s5: #8a94a3; --held: #3a6fd81c; }
@media (prefers-color-scheme: dark) { :root { --bg: #12161c; --card: #1a2029; --text: #e4e9f0; --dim: #98a4b5;
  --line: #2c3542; --good: #3fbf82; --fair: #e0ab3f; --bad: #ef6a62; --s0: #6b9bf5; --s1: #f0a557; --s2: #56c4b5;
  --s3: #bd8ee6; --s4: #db8aa6; --s5: #8c97a8; --held: #6b9bf526; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 12px; }
h3 { font-size: 13px; margin: 0 0 6px; font-weight: 600; overflow-wrap: anywhere; }
p { margin: 0 0 10px; } .dim { color: var(--dim); } small { color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin-top: 16px; }
.verdict { border-left: 6px solid var(--dim); } .verdict.met { border-left-color: var(--good); } .verdict.missed { border-left-color: var(--bad); }
.badge { display: inline-block; padding: 1px 10px; border-radius: 999px; font-size: 13px; font-weight: 600; color: #fff; background: var(--dim); margin-right: 8px; }
.met .badge { background: var(--good); } .missed .badge { background: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 26px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 16px 28px; }
.grid3 { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 18px; }
.scroll { overflow-x: auto; } .scroll + .scroll, .legend + .scroll { margin-top: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: 12.5px; } th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; } td.n, th.n { text-align: right; white-space: nowrap; } td.w { overflow-wrap: anywhere; }
td .bar { display: block; height: 8px; border-radius: 4px; min-width: 2px; margin-top: 7px; }
.bar.good { background: var(--good); } .bar.fair { background: var(--fair); } .bar.bad { background: var(--bad); }
ul { margin: 0; padding-left: 20px; } li { overflow-wrap: anywhere; }
pre { margin: 0; overflow-x: auto; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
details > summary { cursor: pointer; color: var(--dim); margin-top: 10px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; } dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; color: var(--dim); margin-top: 8px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; vertical-align: -1px; }
svg { display: block; width: 100%; height: auto; } svg rect { shape-rendering: crispEdges; } td b { white-space: nowrap; } svg text { font: 12px system-ui, Arial, sans-serif; fill: var(--text); }
svg .name, svg .end { text-anchor: end; } svg .middle { text-anchor: middle; } svg .tick { fill: var(--dim); font-size: 11px; }
svg .value { font-variant-numeric: tabular-nums; } svg .strong { font-weight: 600; } svg .box { fill: var(--bg); stroke: var(--line); } svg .end-box { stroke: var(--good); stroke-width: 2; } svg .flame { fill-opacity: 0.55; } svg .curve { stroke: var(--s0); stroke-width: 2; } svg .axis { stroke: var(--dim); } svg .grid { stroke: var(--line); }
svg .mark { stroke: var(--text); stroke-width: 1.5; } svg .clip { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; } svg .held { fill: var(--held); }
.s0 { fill: var(--s0); background: var(--s0); } .s1 { fill: var(--s1); background: var(--s1); } .s2 { fill: var(--s2); background: var(--s2); }
.s3 { fill: var(--s3); background: var(--s3); } .s4 { fill: var(--s4); background: var(--s4); } .s5 { fill: var(--s5); background: var(--s5); }
svg .good { fill: var(--good); } svg .fair { fill: var(--fair); } svg .bad { fill: var(--bad); }
.g { background: var(--good); } .f { background: var(--fair); } .b { background: var(--bad); }
@media print { :root { --bg: #fff; --card: #fff; } main { max-width: none; padding: 0; } section, .tile { break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
)css";

}  // namespace narrow::evaluation
