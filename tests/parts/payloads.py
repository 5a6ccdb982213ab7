"""Texts that would do something on a page that takes a text for HTML; each would call `hit()`, or leave the page."""

PAYLOADS = r"""
<script>hit()</script>
<script src="data:text/javascript,hit()"></script>
<img src=x onerror=hit()>
<img src="x" onerror="hit()" onload="hit()">
<svg onload=hit()></svg>
<svg><script>hit()</script></svg>
<svg><animate onbegin=hit() attributeName=x dur=1s>
<svg><set onbegin=hit() attributeName=x></svg>
<svg><use href="data:image/svg+xml,<svg id='x' onload='hit()'/>#x"/></svg>
<body onload=hit()>
<iframe src="javascript:parent.hit()"></iframe>
<iframe srcdoc="<script>parent.hit()</script>"></iframe>
<embed src="javascript:hit()">
<object data="javascript:hit()"></object>
<object data="data:text/html,<script>parent.hit()</script>"></object>
<video><source onerror=hit()></video>
<audio src=x onerror=hit()></audio>
<details open ontoggle=hit()>x</details>
<input autofocus onfocus=hit()>
<select autofocus onfocus=hit()></select>
<textarea autofocus onfocus=hit()></textarea>
<marquee onstart=hit()>x</marquee>
<div style="animation:x" onanimationstart=hit()>x</div>
<a href="javascript:hit()" id=link1>x</a>
<form action="javascript:hit()"><button id=link2>x</button></form>
<button formaction="javascript:hit()" form=x>x</button>
<math><mtext><table><mglyph><style><img src=x onerror=hit()></style></mglyph></table></mtext></math>
<noscript><p title="</noscript><img src=x onerror=hit()>"></noscript>
<template><img src=x onerror=hit()></template>
<base href="javascript:hit()//">
<link rel=stylesheet href="javascript:hit()">
<meta http-equiv=refresh content="0;url=javascript:hit()">
<style>@import 'javascript:hit()';*{background:red!important}</style>
[x](javascript:hit())
![x](javascript:hit())
![x" onerror="hit()](x "onerror=hit()")
<x onclick=hit() id=link3>x</x><!--><img src=x onerror=hit()>-->
""".strip().splitlines()
